//! The habits of recorded clients, so that the client half can play them.

use super::frame::Protocol;

/// Whose habits the client half shows.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Profile {
    /// Nothing but what is needed.
    #[default]
    Plain,
    /// Windows 10: PFC, ACFC and Callback in LCP, three Identifications, IPV6CP and CCP.
    Windows,
    /// pppd: ACCM, PFC and ACFC but no MRU in LCP, VJ compression in IPCP, CCP.
    Pppd,
}

/// An option as its number and its value.
pub(crate) type RawOption = (u8, &'static [u8]);

impl Profile {
    /// Returns whether it sends its MRU.
    pub(crate) const fn sends_mru(self) -> bool {
        match self {
            Self::Plain | Self::Windows => true,
            Self::Pppd => false,
        }
    }

    /// Returns the LCP options that it asks for besides MRU and Magic-Number.
    pub(crate) const fn lcp_options(self) -> &'static [RawOption] {
        match self {
            Self::Plain => &[],
            Self::Windows => &[(7, &[]), (8, &[]), (13, &[6])],
            Self::Pppd => &[(2, &[0; 4]), (7, &[]), (8, &[])],
        }
    }

    /// Returns the messages of its LCP Identifications.
    pub(crate) const fn identifications(self) -> &'static [&'static [u8]] {
        match self {
            Self::Plain | Self::Pppd => &[],
            Self::Windows => &[
                b"MSRASV5.20",
                b"MSRAS-0-CAUSEWAY",
                &[
                    0x3d, 0x1f, 0x7a, 0x52, 0x90, 0x0c, 0x4b, 0x4e, 0x8a, 0x11, 0x5c, 0xe2, 0x77,
                    0x06, 0xd4, 0xb8,
                ],
            ],
        }
    }

    /// Returns the IPCP options that it asks for besides the address and the name servers.
    pub(crate) const fn ipcp_options(self) -> &'static [RawOption] {
        match self {
            Self::Plain | Self::Windows => &[],
            Self::Pppd => &[(2, &[0x00, 0x2d, 0x0f, 0x01])],
        }
    }

    /// Returns the other network protocols that it tries, each with its options.
    pub(crate) const fn other_protocols(self) -> &'static [(Protocol, &'static [u8])] {
        match self {
            Self::Plain => &[],
            Self::Windows => &[
                (
                    Protocol::IPV6CP,
                    &[1, 10, 0x4c, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77],
                ),
                (Protocol::CCP, &[18, 6, 0, 0, 0, 1]),
            ],
            Self::Pppd => &[(
                Protocol::CCP,
                &[26, 4, 0x78, 0x00, 24, 4, 0x78, 0x00, 21, 3, 0x2f],
            )],
        }
    }
}
