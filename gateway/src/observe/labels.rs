//! Closed sets of label values, so that every series exists, at zero, from the first scrape.

use causeway_proto::sstp::EndReason;

/// Declares an enum whose every variant has one word, and the list of all of them.
macro_rules! label {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
        pub enum $name {
            $($(#[$doc])* $variant,)+
        }

        impl $name {
            /// Every value, in the order of declaration.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// Every word, in the same order.
            pub const WORDS: &'static [&'static str] = &[$($word),+];

            /// Returns the word for the label and the log.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }
        }
    };
}

label! {
    /// Why a TLS handshake did not come to its end.
    TlsFailure {
        /// The bytes are not TLS.
        NotTls = "not_tls",
        /// No version in common.
        Version = "no_common_version",
        /// No cipher suite or key exchange group in common.
        Cipher = "no_common_cipher",
        /// The client insists on an application protocol other than `http/1.1`.
        Alpn = "no_application_protocol",
        /// The client does not know the authority that signed the certificate.
        UnknownCa = "unknown_ca",
        /// The client refuses the certificate for another reason (expired, revoked, wrong name).
        Certificate = "certificate_refused",
        /// The client sent another alert.
        Alert = "alert",
        /// The handshake broke in another way.
        Protocol = "protocol",
        /// The client went away.
        Closed = "closed",
        /// The client was too slow.
        Timeout = "timeout",
        /// Room was needed for newer connections.
        Evicted = "evicted",
        /// Its turn did not come in time (`limits.new_per_second`).
        RateLimited = "rate_limited",
    }
}

label! {
    /// Why the PROXY header of a trusted load balancer did not come.
    ProxyFailure {
        /// The bytes are no PROXY header.
        Malformed = "malformed",
        /// The load balancer went away.
        Closed = "closed",
        /// It was too slow.
        Timeout = "timeout",
        /// Room was needed for newer connections.
        Evicted = "evicted",
    }
}

label! {
    /// Why an HTTP request head led to nothing.
    HttpFailure {
        /// The bytes are no HTTP/1.1 request head.
        Malformed = "malformed",
        /// The client went away.
        Closed = "closed",
        /// The client was too slow.
        Timeout = "timeout",
        /// Room was needed for newer connections.
        Evicted = "evicted",
        /// The gateway drains or lacks what a session needs.
        NotAble = "not_able",
        /// More connections are on their way than the tunnel takes.
        Busy = "busy",
    }
}

label! {
    /// Why the kernel did not hand over a connection.
    AcceptFailure {
        /// The process or the system has no descriptor left.
        Descriptors = "descriptors",
        /// The kernel has no memory for it.
        Memory = "memory",
        /// The connection was gone before it was taken, or another passing reason.
        Aborted = "aborted",
    }
}

/// Returns the label `reason` (with `stage="ppp"`) for a call that never came up.
#[must_use]
pub const fn end_reason(reason: EndReason) -> &'static str {
    if reason.is_crypto_binding() {
        "crypto_binding"
    } else {
        reason.as_str()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_has_its_own_word() {
        for (value, word) in TlsFailure::ALL.iter().zip(TlsFailure::WORDS) {
            assert_eq!(value.as_str(), *word);
            assert_eq!(TlsFailure::WORDS.iter().filter(|w| w == &word).count(), 1);
        }
    }
}
