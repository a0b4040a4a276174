//! Every cell against the table as the RFC prints it.

use super::*;

const STATES: [State; 10] = [
    Initial, Starting, Closed, Stopped, Closing, Stopping, ReqSent, AckRcvd, AckSent, Opened,
];

const EVENTS: [Event; 16] = [
    Event::Up,
    Event::Down,
    Event::Open,
    Event::Close,
    Event::TimeoutMore,
    Event::TimeoutLast,
    Event::GoodRequest,
    Event::BadRequest,
    Event::ConfigureAck,
    Event::ConfigureNak,
    Event::TerminateRequest,
    Event::TerminateAck,
    Event::UnknownCode,
    Event::HarmlessReject,
    Event::FatalReject,
    Event::Echo,
];

/// The first half of the table, columns 0 to 5, as RFC 1661 §4.1 prints it.
const LEFT: &str = "
     Up   |    2     irc,scr/6     -         -         -         -
     Down |    -         -         0       tls/1       0         1
     Open |  tls/1       1     irc,scr/6     3r        5r        5r
     Close|    0       tlf/0       2         2         4         4
      TO+ |    -         -         -         -       str/4     str/5
      TO- |    -         -         -         -       tlf/2     tlf/3
     RCR+ |    -         -       sta/2 irc,scr,sca/8   4         5
     RCR- |    -         -       sta/2 irc,scr,scn/6   4         5
     RCA  |    -         -       sta/2     sta/3       4         5
     RCN  |    -         -       sta/2     sta/3       4         5
     RTR  |    -         -       sta/2     sta/3     sta/4     sta/5
     RTA  |    -         -         2         3       tlf/2     tlf/3
     RUC  |    -         -       scj/2     scj/3     scj/4     scj/5
     RXJ+ |    -         -         2         3         4         5
     RXJ- |    -         -       tlf/2     tlf/3     tlf/2     tlf/3
     RXR  |    -         -         2         3         4         5";

/// The second half, columns 6 to 9.
const RIGHT: &str = "
     Up   |    -         -         -           -
     Down |    1         1         1         tld/1
     Open |    6         7         8           9r
     Close|irc,str/4 irc,str/4 irc,str/4 tld,irc,str/4
      TO+ |  scr/6     scr/6     scr/8         -
      TO- | tlf/3p    tlf/3p    tlf/3p         -
     RCR+ |  sca/8   sca,tlu/9   sca/8   tld,scr,sca/8
     RCR- |  scn/6     scn/7     scn/6   tld,scr,scn/6
     RCA  |  irc/7     scr/6x  irc,tlu/9   tld,scr/6x
     RCN  |irc,scr/6   scr/6x  irc,scr/8   tld,scr/6x
     RTR  |  sta/6     sta/6     sta/6   tld,zrc,sta/5
     RTA  |    6         6         8       tld,scr/6
     RUC  |  scj/6     scj/7     scj/8       scj/9
     RXJ+ |    6         6         8           9
     RXJ- |  tlf/3     tlf/3     tlf/3   tld,irc,str/5
     RXR  |    6         7         8         ser/9";

/// Prints a cell in the RFC's way, without its options.
fn print(cell: Cell) -> String {
    let Some((actions, next)) = cell else {
        return "-".to_owned();
    };
    let next = STATES.iter().position(|state| *state == next).unwrap();
    let actions: Vec<String> = actions
        .iter()
        .map(|action| format!("{action:?}").to_lowercase())
        .collect();
    if actions.is_empty() {
        next.to_string()
    } else {
        format!("{}/{next}", actions.join(","))
    }
}

#[test]
fn every_cell_is_that_of_the_rfc() {
    let rows = |text: &'static str| {
        text.lines()
            .filter_map(|line| line.split_once('|'))
            .map(|(_, cells)| cells.split_whitespace().collect::<Vec<_>>())
    };
    let mut cells = 0;
    for ((left, right), event) in rows(LEFT).zip(rows(RIGHT)).zip(EVENTS) {
        assert_eq!(left.len() + right.len(), STATES.len());
        for (want, state) in left.iter().chain(&right).zip(STATES) {
            let want = want.trim_end_matches(['r', 'p', 'x']);
            assert_eq!(
                print(transition(event, state)),
                want,
                "{event:?} in {state:?}"
            );
            cells += 1;
        }
    }
    assert_eq!(cells, 160);
}
