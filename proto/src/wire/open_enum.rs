//! Registry numbers as newtypes: known values have names, unknown ones are kept for the reply and the log.

/// Declares a newtype over a registry number with named constants.
macro_rules! open_enum {
    (
        $(#[$doc:meta])*
        $vis:vis struct $name:ident($int:ty) {
            $( $(#[$value_doc:meta])* $constant:ident = $value:expr, )*
        }
    ) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
        $vis struct $name(pub $int);

        impl $name {
            $( $(#[$value_doc])* pub const $constant: Self = Self($value); )*
        }

        impl core::fmt::Debug for $name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                match *self {
                    $( Self::$constant => f.write_str(stringify!($constant)), )*
                    Self(other) => write!(f, concat!(stringify!($name), "({:#x})"), other),
                }
            }
        }
    };
}

pub(crate) use open_enum;
