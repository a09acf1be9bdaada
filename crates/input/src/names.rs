//! Enums that are names outside: in bodies, in queries, in stores.

/// Makes an enum of names: `ALL` of them, the name of one (`as_str`, and shown), the one of a name (`named`), and what
/// serde reads and writes. Its user has `serde`.
#[macro_export]
macro_rules! names {
    ($(#[$meta:meta])* $vis:vis enum $type:ident { $($(#[$doc:meta])* $variant:ident = $name:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, ::serde::Serialize, ::serde::Deserialize)]
        $vis enum $type {
            $($(#[$doc])* #[serde(rename = $name)] $variant,)+
        }

        impl $type {
            /// Every one there is.
            $vis const ALL: [Self; [$($name),+].len()] = [$(Self::$variant),+];

            /// Its name outside.
            $vis const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $name),+
                }
            }

            /// The one of that name.
            $vis fn named(name: &str) -> Option<Self> {
                Self::ALL.into_iter().find(|one| one.as_str() == name)
            }
        }

        impl ::std::fmt::Display for $type {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

#[cfg(test)]
mod tests {
    names! {
        /// What a parcel weighs.
        enum Size {
            Small = "small",
            TooLarge = "too-large",
        }
    }

    #[test]
    fn every_name_is_read_as_it_is_written() {
        for size in Size::ALL {
            assert_eq!(Size::named(size.as_str()), Some(size));
            let json = serde_json::to_string(&size).expect("is written");
            assert_eq!((json, size.to_string()), (format!("\"{}\"", size.as_str()), size.as_str().to_owned()));
            let read = serde_json::from_str::<Size>(&format!("\"{size}\"")).expect("is read");
            assert_eq!(read, size);
        }
        assert_eq!((Size::named("too-large"), Size::named("Small")), (Some(Size::TooLarge), None));
    }
}
