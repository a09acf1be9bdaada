//! What a caller wants a thing to be before it is changed (RFC 9110, section 13), in versions.

/// Which versions a caller names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Versions {
    /// `*`: whatever is there.
    Any,
    /// One of these; with none, nothing that is there matches.
    Of(Vec<i64>),
}

impl Versions {
    fn hold(&self, current: Option<i64>) -> bool {
        current.is_some_and(|current| match self {
            Self::Any => true,
            Self::Of(versions) => versions.contains(&current),
        })
    }
}

/// The state a caller wants to change: by default any. It is judged where the change is made, under the store's own
/// lock or compare-and-swap, because before that somebody else may still be first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Expected {
    /// `If-Match`: the version must be among these.
    pub one_of: Option<Versions>,
    /// `If-None-Match`: the version must not be among these.
    pub none_of: Option<Versions>,
}

impl Expected {
    /// Whether a version is named: a star is whatever is there.
    pub fn names_version(&self) -> bool {
        matches!(self.one_of, Some(Versions::Of(_)))
    }

    /// Whether the thing may be changed that is there with version `current`, or made when it is not there.
    pub fn admits(&self, current: impl Into<Option<i64>>) -> bool {
        let current = current.into();
        // In the order of RFC 9110, section 13.2.2; both must hold.
        self.one_of.as_ref().is_none_or(|versions| versions.hold(current))
            && !self.none_of.as_ref().is_some_and(|versions| versions.hold(current))
    }
}

/// The `expected_version` of a gRPC request.
impl From<Option<i64>> for Expected {
    fn from(version: Option<i64>) -> Self {
        Self { one_of: version.map(|version| Versions::Of(vec![version])), none_of: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_conditions_must_hold() {
        let of = |versions: &[i64]| Some(Versions::Of(versions.to_vec()));
        for (one_of, none_of, admitted) in [
            (None, None, true),
            (Some(Versions::Any), None, true),
            (of(&[6, 7]), None, true),
            (of(&[6]), None, false),
            (of(&[]), None, false),
            (None, Some(Versions::Any), false),
            (None, of(&[7]), false),
            (None, of(&[6]), true),
            (of(&[7]), of(&[7]), false),
            (of(&[7]), of(&[6]), true),
        ] {
            let expected = Expected { one_of, none_of };
            assert_eq!(expected.admits(7), admitted, "{expected:?}");
        }
        let made_only = Expected { one_of: None, none_of: Some(Versions::Any) };
        assert!(made_only.admits(None) && Expected::default().admits(None));
        let changed_only = Expected { one_of: Some(Versions::Any), none_of: None };
        assert!(!changed_only.admits(None) && !Expected::from(Some(7)).admits(None), "nothing is there to match");
        assert!(Expected::from(Some(7)).names_version() && !changed_only.names_version() && !made_only.names_version());
        assert!(
            Expected::from(Some(7)).admits(7) && !Expected::from(Some(6)).admits(7) && Expected::from(None).admits(7)
        );
    }
}
