//! `[filters.*]`: named filters, which an authenticator chooses for a session.

use std::collections::BTreeMap;
use std::sync::Arc;

use causeway_proto::ip::filter::{Filter, Rule, RuleError};
use serde::{Deserialize, Serialize};

use super::report::Report;

/// Every packet may be compared with every rule.
const MAX_RULES: usize = 256;

#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct File {
    allow: Vec<String>,
    deny: Vec<String>,
}

/// The filters by name.
pub(super) fn check(
    files: BTreeMap<String, File>,
    report: &mut Report,
) -> BTreeMap<String, Arc<Filter>> {
    let mut compiled = BTreeMap::new();
    for (name, file) in files {
        let filter = filter(&name, &file, report);
        compiled.insert(name, Arc::new(filter));
    }
    compiled
}

fn filter(name: &str, file: &File, report: &mut Report) -> Filter {
    let File { allow, deny } = file;
    let path = format!("filters.{name}");
    if allow.len() + deny.len() > MAX_RULES {
        report
            .error("E0214", &path, "a filter with too many rules")
            .label(format!("{} rules; {MAX_RULES} at most", allow.len() + deny.len()))
            .note("every packet may be compared with every rule")
            .help("put networks and ports together, as \"10.0.0.0/8\" and \"tcp/8000-8099 10.1.0.0/16\"");
    }
    if allow.is_empty() {
        report
            .warning("E0215", &path, "a filter that lets nothing pass")
            .label("`allow` is empty")
            .note("`deny` takes away from `allow`; what neither names is dropped")
            .help("add `allow = [\"any\"]` to let everything else pass");
    }
    let deny = rules(deny, &format!("{path}.deny"), report);
    let allow = rules(allow, &format!("{path}.allow"), report);
    Filter::new(name, &deny, &allow)
}

fn rules(texts: &[String], path: &str, report: &mut Report) -> Vec<Rule> {
    let mut rules = Vec::with_capacity(texts.len());
    for (i, text) in texts.iter().enumerate() {
        match text.parse::<Rule>() {
            Ok(rule) => rules.push(rule),
            Err(error) => {
                report
                    .error("E0214", &format!("{path}[{i}]"), "not a rule of a filter")
                    .label(error.to_string())
                    .help(remedy(&error));
            }
        }
    }
    rules
}

fn remedy(error: &RuleError) -> String {
    match error {
        RuleError::Shape => {
            "write `\"10.0.0.0/8\"`, `\"tcp/443 10.1.0.5/32\"` or `\"icmp any\"`, one in each string".into()
        }
        RuleError::Protocol(_) => {
            "write `tcp`, `udp` or `icmp`; a network alone means every protocol".into()
        }
        RuleError::NoPorts(protocol) => format!("write `{protocol}` without a port"),
        RuleError::Port(_) => "write one port or a range, as `tcp/443` or `tcp/8000-8099`".into(),
        RuleError::Backwards { first, last } => format!("write `{last}-{first}`"),
        RuleError::Network(_) => {
            "write an IPv4 network or address, as \"10.0.0.0/8\" or \"10.1.0.5\", or \"any\"; clients have no IPv6".into()
        }
        RuleError::HostBits {
            address,
            length,
            network,
        } => format!("write `{network}/{length}` for the network, or `{address}` for the host alone"),
    }
}
