//! Echoes, timers and ends.

use super::*;

#[test]
fn echo_while_connecting_is_answered_once_a_second_and_extends_nothing() {
    let (mut bench, _) = Bench::pending();
    let mut answers = 0;
    for _ in 0..750 {
        bench.send(&Message::EchoRequest);
        bench.send(&Message::EchoResponse);
        match bench.call.poll_opening() {
            None => {}
            Some(message) => {
                assert_eq!(message, Message::EchoResponse);
                answers += 1;
            }
        }
        bench.pass(Duration::from_millis(100));
    }
    assert_eq!(answers, 75);
    bench.expect_abort(
        AttributeId::STATUS_INFO,
        Status::NEGOTIATION_TIMEOUT,
        EndReason::CallConnectedTimeout,
    );
}

#[test]
fn nothing_is_asked_while_connecting() {
    let (mut bench, _) = Bench::pending();
    for _ in 0..74 {
        bench.pass(secs(1));
        assert_eq!(bench.call.poll_opening(), None);
    }
}

#[test]
fn silence_is_asked_about_once_and_then_closed_without_an_abort() {
    let (mut bench, _) = Bench::connected();
    bench.pass(secs(59));
    assert_eq!(bench.call.poll_opening(), None);
    bench.pass(secs(1));
    assert_eq!(bench.call.poll_opening(), Some(Message::EchoRequest));
    bench.pass(secs(60));
    assert_eq!(
        bench.call.poll_event(),
        Some(Event::Ended {
            cause: TerminateCause::PeerLost,
            reason: EndReason::HelloTimeout
        })
    );
    assert_eq!(bench.call.poll_closing(), None);
    bench.expect_close();
}

#[test]
fn any_packet_restarts_the_hello_timer() {
    let (mut bench, _) = Bench::connected();
    for _ in 0..20 {
        bench.pass(secs(45));
        bench.call.heard(bench.now);
        assert_eq!(bench.call.poll_opening(), None);
    }
    // The lazy deadline still finds the silence in time.
    let mut waited = secs(0);
    while bench.call.poll_opening().is_none() {
        bench.pass(secs(1));
        waited += secs(1);
    }
    assert_eq!(waited, secs(60));
    // An answer after the question counts as well.
    bench.pass(secs(30));
    bench.call.heard(bench.now);
    bench.send(&Message::EchoResponse);
    bench.pass(secs(59));
    assert_eq!(bench.call.poll_event(), None);
    bench.pass(secs(1));
    assert_eq!(bench.call.poll_opening(), Some(Message::EchoRequest));
}

#[test]
fn many_echo_requests_in_one_read_cost_one_answer() {
    let (mut bench, _) = Bench::connected();
    for _ in 0..1000 {
        bench.send(&Message::EchoRequest);
    }
    assert_eq!(bench.call.poll_opening(), Some(Message::EchoResponse));
    assert_eq!(bench.call.poll_opening(), None);
}

#[test]
fn an_abort_of_ours_waits_for_the_peers_and_a_second_more() {
    let (mut bench, _) = Bench::connected();
    bench.send(&Message::DisconnectAck);
    bench.expect_unexpected();
    bench.send(&Message::EchoRequest);
    bench.send(&Message::Disconnect(StatusInfo::CLEAN));
    bench.bytes(&[0x10, 1, 0, 4]);
    assert_eq!(bench.call.poll_closing(), None);
    bench.pass(secs(2));
    bench.send(&Message::Abort(StatusInfo::CLEAN));
    assert_eq!(bench.call.poll_closing(), None);
    bench.pass(Duration::from_millis(999));
    assert_eq!(bench.call.poll_event(), None);
    bench.pass(Duration::from_millis(1));
    bench.expect_close();
}

#[test]
fn an_abort_of_the_peers_is_answered_in_every_state() {
    let benches = [Bench::new(), Bench::pending().0, Bench::connected().0];
    for mut bench in benches {
        bench.send(&Message::Abort(StatusInfo::CLEAN));
        bench.expect_abort(
            AttributeId::NO_ERROR,
            Status::NO_ERROR,
            EndReason::PeerAbort,
        );
        bench.send(&Message::Abort(StatusInfo::CLEAN));
        assert_eq!(bench.call.poll_closing(), None);
        bench.pass(secs(1));
        bench.expect_close();
    }
}

#[test]
fn a_disconnect_of_ours_ends_with_its_acknowledgement() {
    let (mut bench, _) = Bench::connected();
    bench.call.disconnect(bench.now);
    let disconnect = Message::Disconnect(StatusInfo::CLEAN);
    assert!(bench.call.sends_ppp());
    assert_eq!(bench.call.poll_closing(), Some(disconnect));
    assert!(!bench.call.sends_ppp());
    bench.call.disconnect(bench.now);
    assert_eq!(bench.call.poll_closing(), None);
    bench.send(&Message::DisconnectAck);
    bench.expect_close();
}

#[test]
fn a_disconnect_of_ours_waits_5_seconds() {
    for mut bench in [Bench::new(), Bench::pending().0, Bench::connected().0] {
        bench.call.disconnect(bench.now);
        bench.pass(Duration::from_millis(4999));
        assert_eq!(bench.call.poll_event(), None);
        bench.pass(Duration::from_millis(1));
        bench.expect_close();
    }
}

#[test]
fn a_disconnect_of_the_peers_is_acknowledged_in_every_state() {
    for mut bench in [Bench::new(), Bench::pending().0, Bench::connected().0] {
        bench.send(&Message::Disconnect(StatusInfo::CLEAN));
        assert_eq!(bench.call.poll_closing(), Some(Message::DisconnectAck));
        assert_eq!(
            bench.call.poll_event(),
            Some(Event::Ended {
                cause: TerminateCause::UserRequest,
                reason: EndReason::PeerDisconnect
            })
        );
        bench.send(&Message::Disconnect(StatusInfo::CLEAN));
        bench.send(&Message::ConnectRequest);
        assert_eq!(bench.call.poll_closing(), None);
        bench.pass(secs(1));
        bench.expect_close();
    }
}

#[test]
fn crossing_disconnects_are_both_acknowledged() {
    let (mut bench, _) = Bench::connected();
    bench.call.disconnect(bench.now);
    bench.send(&Message::Disconnect(StatusInfo::CLEAN));
    assert!(matches!(
        bench.call.poll_closing(),
        Some(Message::Disconnect(_))
    ));
    assert_eq!(bench.call.poll_closing(), Some(Message::DisconnectAck));
    bench.send(&Message::DisconnectAck);
    bench.expect_close();
}

#[test]
fn nothing_wakes_a_closed_call() {
    let (mut bench, packet) = Bench::connected();
    bench.call.close();
    bench.expect_close();
    bench.bytes(&packet);
    bench.send(&Message::ConnectRequest);
    bench.call.handle_keys(bench.now, None);
    bench.call.disconnect(bench.now);
    bench.call.close();
    bench.call.handle_timeout(bench.now + secs(1000));
    assert_eq!(bench.call.poll_event(), None);
    assert_eq!(bench.call.poll_opening(), None);
    assert_eq!(bench.call.poll_closing(), None);
    assert_eq!(bench.call.poll_timeout(), None);
}
