//! What a client can be told to do wrong, so that tests and fuzzers need no second client.

/// Which mistakes the client makes; none by default.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Faults {
    /// In the Call Connect Request.
    pub request: RequestFault,
    /// In the crypto binding.
    pub binding: BindingFault,
    /// In when and how often it says Call Connected.
    pub connected: ConnectedFault,
    /// In when it sends user data.
    pub data: DataFault,
    /// In its echoes.
    pub echo: EchoFault,
    /// In how it ends.
    pub end: EndFault,
}

/// Declares a switch whose first position is the honest one.
macro_rules! switch {
    (
        $(#[$doc:meta])*
        $name:ident { $( $(#[$variant_doc:meta])* $variant:ident, )* }
    ) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
        pub enum $name {
            /// No mistake.
            #[default]
            None,
            $( $(#[$variant_doc])* $variant, )*
        }

        impl $name {
            /// Every mistake.
            pub const ALL: &[Self] = &[ $( Self::$variant, )* ];
        }
    };
}

switch! {
    /// Mistakes in the Call Connect Request; each is repeated as often as it is refused.
    RequestFault {
        /// Says nothing at all.
        Silent,
        /// Asks for another protocol than PPP.
        WrongProtocol,
        /// Has no attribute.
        NoProtocol,
        /// Has the attribute twice.
        Duplicate,
        /// Has an attribute that nobody knows.
        Unknown,
        /// Has an attribute that is an octet short.
        WrongLength,
        /// Has a Status Info.
        StatusInfo,
        /// Says that it has 65535 attributes.
        WrongCount,
        /// Asks again when it has been answered.
        Again,
    }
}

switch! {
    /// Mistakes in the crypto binding; what can be signed rightly is.
    BindingFault {
        /// Another nonce.
        WrongNonce,
        /// The certificate of somebody in the middle.
        WrongCertificate,
        /// A MAC with one bit turned.
        WrongMac,
        /// Both hashes at once.
        TwoHashes,
        /// No hash.
        NoHash,
        /// A hash that does not exist.
        UnknownHash,
        /// Signed as if there were no keys.
        ZeroKeys,
        /// Signed with send and receive key exchanged.
        SwappedKeys,
        /// An attribute of 103 octets.
        Short,
        /// No attribute.
        Missing,
    }
}

switch! {
    /// Mistakes around Call Connected.
    ConnectedFault {
        /// Never says it.
        Never,
        /// Says it before the log-in, without keys.
        Early,
        /// Says it when IPCP is open, as old versions of sstp-client do.
        AtNetworkUp,
        /// Says it twice, as sstp-client does with pppd's plug-in.
        Twice,
        /// Says it twice, and not the same.
        TwiceDifferent,
    }
}

switch! {
    /// Mistakes with user data.
    DataFault {
        /// Sends an IP packet right behind the Call Connect Ack.
        BeforeLogin,
        /// Sends an IP packet when logged in, ahead of Call Connected.
        BeforeConnected,
    }
}

switch! {
    /// Mistakes with echoes.
    EchoFault {
        /// Neither answers nor asks.
        Deaf,
        /// Asks while connecting, as sstp-client and the Android client do.
        WhileConnecting,
    }
}

switch! {
    /// Mistakes at the end.
    EndFault {
        /// Acknowledges no Disconnect and answers no Abort.
        Mute,
    }
}
