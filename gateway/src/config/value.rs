//! Values that are written as text: `"60s"`, `"10.0.0.0/8"`.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

use ipnet::{IpNet, Ipv4Net};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Anything that is a string in the file.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Text<T>(pub T);

impl<'de, T: FromStr<Err: fmt::Display>> Deserialize<'de> for Text<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map(Self).map_err(de::Error::custom)
    }
}

impl<T: fmt::Display> Serialize for Text<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

/// A length of time: `"500ms"`, `"30s"`, `"5m"`, `"1h"`, `"30d"`.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Time(pub Duration);

impl Time {
    pub(super) const fn seconds(seconds: u64) -> Text<Self> {
        Self::of(Duration::from_secs(seconds))
    }

    pub(super) const fn of(time: Duration) -> Text<Self> {
        Text(Self(time))
    }
}

impl Text<Time> {
    pub(super) const fn duration(&self) -> Duration {
        self.0.0
    }

    /// Zero says that there is no limit.
    pub(super) fn limit(&self) -> Option<Duration> {
        Some(self.0.0).filter(|duration| !duration.is_zero())
    }
}

impl FromStr for Time {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // What is longer than a century is a typing error, and would overflow sums of times.
        const LONGEST: Duration = Duration::from_secs(100 * 365 * 86_400);
        match humantime::parse_duration(text) {
            Ok(duration) if duration <= LONGEST => Ok(Self(duration)),
            Ok(_) => Err("longer than 100 years"),
            Err(_) => Err("no length of time; write \"500ms\", \"30s\", \"5m\", \"1h\" or \"30d\""),
        }
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_duration(self.0).fmt(f)
    }
}

/// A network or an address: `"10.0.0.0/8"`, `"10.0.0.1"`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Net(pub IpNet);

impl FromStr for Net {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let address = || text.parse::<IpAddr>().map(IpNet::from).ok();
        text.parse::<IpNet>()
            .ok()
            .or_else(address)
            .map(Self)
            .ok_or("no network; write \"10.0.0.0/8\" or \"10.0.0.1\"")
    }
}

impl fmt::Display for Net {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An IPv4 network or address.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Net4(pub Ipv4Net);

impl FromStr for Net4 {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.parse::<Net>() {
            Ok(Net(IpNet::V4(net))) => Ok(Self(net)),
            Ok(Net(IpNet::V6(_))) | Err(_) => {
                Err("no IPv4 network; write \"10.0.0.0/8\" or \"10.0.0.1\"")
            }
        }
    }
}

impl fmt::Display for Net4 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A value of its own, or a word in its place: `"auto"`, `"off"`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum OrWord<T> {
    Word,
    Value(T),
}

/// A count of workers, or `"auto"`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Workers(pub OrWord<usize>);

impl<'de> Deserialize<'de> for Workers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl de::Visitor<'_> for Visitor {
            type Value = Workers;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("\"auto\" or a number from 1 to 256")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Workers, E> {
                if text == "auto" {
                    Ok(Workers(OrWord::Word))
                } else {
                    Err(E::invalid_value(de::Unexpected::Str(text), &self))
                }
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Workers, E> {
                match usize::try_from(number) {
                    Ok(count @ 1..=256) => Ok(Workers(OrWord::Value(count))),
                    Ok(_) | Err(_) => Err(E::invalid_value(de::Unexpected::Signed(number), &self)),
                }
            }
        }

        deserializer.deserialize_any(Visitor)
    }
}

impl Serialize for Workers {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            OrWord::Word => serializer.serialize_str("auto"),
            OrWord::Value(count) => count.serialize(serializer),
        }
    }
}

/// An address to listen on, or `"off"`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct OrOff<T>(pub Option<T>);

impl<T: FromStr> FromStr for OrOff<T> {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "off" {
            return Ok(Self(None));
        }
        text.parse()
            .map(|value| Self(Some(value)))
            .map_err(|_| "neither \"off\" nor an address with a port, as \"127.0.0.1:9095\"")
    }
}

impl<T: fmt::Display> fmt::Display for OrOff<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(value) => value.fmt(f),
            None => f.write_str("off"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_networks_survive_their_text() {
        for text in ["500ms", "30s", "5m", "1h", "30days", "0s"] {
            assert_eq!(text.parse::<Time>().unwrap().to_string(), text);
        }
        for text in ["60", "", "1y x", "-1s", "200years"] {
            assert!(text.parse::<Time>().is_err(), "{text}");
        }
        assert_eq!(
            "10.0.0.1".parse::<Net>().unwrap().to_string(),
            "10.0.0.1/32"
        );
        assert!("fd00::/8".parse::<Net4>().is_err());
        assert!("10.0.0.0/33".parse::<Net>().is_err());
    }
}
