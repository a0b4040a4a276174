//! What a session gets of what the authenticator said: within reason, and as the configuration allows.

use std::net::Ipv4Addr;
use std::sync::Arc;

use causeway_proto::aaa::{Authorization, Limits, Refusal, RefuseReason};
use causeway_proto::ip::filter::Filter;
use tracing::info;

use super::Settings;

/// The filter that the authenticator names. One that is not there lets nobody in: without it the session would reach more
/// than it was allowed.
pub(super) fn filter(
    settings: &Settings,
    authorization: &Authorization,
) -> Result<Option<Arc<Filter>>, Refusal> {
    let Some(name) = &authorization.filter else {
        return Ok(None);
    };
    let Some(filter) = settings.filters.get(name) else {
        info!(
            filter = name,
            "the user's filter (Filter-Id) is not configured; add [filters.NAME] or change the policy"
        );
        return Err(Refusal::new(RefuseReason::BadAuthorization));
    };
    Ok(Some(Arc::clone(filter)))
}

/// Returns whether an address can belong to no client (RELIABILITY: absurd but valid answers).
pub(super) fn is_absurd(address: Ipv4Addr) -> bool {
    address.is_unspecified()
        || address.is_loopback()
        || address.is_multicast()
        || address.is_broadcast()
        || address.is_link_local()
}

/// The first two of what the authenticator said, else of what the configuration says.
pub(super) fn first_two(said: &[Ipv4Addr], configured: &[Ipv4Addr]) -> Vec<Ipv4Addr> {
    let chosen = if said.is_empty() { configured } else { said };
    chosen.iter().copied().take(2).collect()
}

/// The limits of a session: the authenticator's, within reason.
pub(super) fn limits(
    settings: &Settings,
    authorization: &Authorization,
) -> Result<Limits, Refusal> {
    if authorization
        .session_timeout
        .is_some_and(|timeout| timeout.is_zero())
    {
        info!("Session-Timeout is zero: the server allows no time at all");
        return Err(Refusal::new(RefuseReason::BadAuthorization));
    }
    let session_timeout = authorization
        .session_timeout
        .map(|timeout| timeout.min(settings.max_session_timeout))
        .or(settings.limits.session_timeout);
    let idle_timeout = authorization
        .idle_timeout
        .filter(|timeout| !timeout.is_zero())
        .or(settings.limits.idle_timeout);
    Ok(Limits {
        session_timeout,
        idle_timeout,
    })
}

/// The tunnel MTU: the smaller of ours and `Framed-MTU`, which may not be below what IPv4 demands of every link.
pub(super) fn mtu(settings: &Settings, authorization: &Authorization) -> Result<u16, Refusal> {
    match authorization.mtu {
        Some(mtu) if mtu < 576 => {
            info!(mtu, "Framed-MTU is below 576");
            Err(Refusal::new(RefuseReason::BadAuthorization))
        }
        Some(mtu) => Ok(mtu.min(settings.mtu)),
        None => Ok(settings.mtu),
    }
}
