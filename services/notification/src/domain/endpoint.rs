//! An endpoint that webhooks go to.

use std::collections::BTreeSet;

use shop_fault::FieldError;
use shop_input::Fields;
use shop_text::Text;
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use super::preferences::event_types;
use super::{Error, EventType, Expected, HookUrl, Reach, Result, SigningSecret};

/// Most endpoints: every event is sent to each of them.
pub(crate) const MAX_ENDPOINTS: i64 = 100;

pub(crate) const DESCRIPTION: Text = Text::line(0, 200);

/// An endpoint as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Endpoint {
    /// Its id.
    pub(crate) id: Uuid,
    /// What a client may write.
    pub(crate) settings: EndpointSettings,
    /// Why the service itself turned it off; none when it did not.
    pub(crate) disabled_reason: Option<String>,
    /// What is signed with.
    pub(crate) secret: SigningSecret,
    /// What was signed with before, and until when it still is, beside the new one.
    pub(crate) old_secret: Option<(SigningSecret, OffsetDateTime)>,
    /// Counts the changes, from 1.
    pub(crate) version: i64,
    /// When it was added.
    pub(crate) created_at: OffsetDateTime,
    /// When it was last changed.
    pub(crate) updated_at: OffsetDateTime,
}

/// The part of an endpoint that clients write, valid by construction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EndpointSettings {
    /// Where to POST to.
    pub(crate) url: HookUrl,
    /// For people.
    pub(crate) description: String,
    /// What to send.
    pub(crate) event_types: BTreeSet<EventType>,
    /// Whether anything is sent.
    pub(crate) enabled: bool,
}

/// An endpoint as it came in, not looked at yet.
#[derive(Debug, Clone, Default)]
pub(crate) struct EndpointDraft {
    pub(crate) url: String,
    pub(crate) description: String,
    pub(crate) event_types: Option<Vec<String>>,
    pub(crate) enabled: Option<bool>,
}

impl EndpointSettings {
    /// Checks a draft and says everything that is wrong with it at once.
    pub(crate) fn parse(draft: &EndpointDraft, reach: Reach) -> Result<Self> {
        let mut wrong = Fields::default();
        let url = HookUrl::parse(&draft.url, reach).map_err(|message| FieldError::new("url", "invalid", message));
        let url = wrong.keep(url);
        let description = wrong.keep(DESCRIPTION.check(&draft.description).map_err(|error| error.on("description")));
        let event_types = event_types(draft.event_types.as_deref(), &mut wrong);
        match (url, wrong.is_empty()) {
            (Some(url), true) => Ok(Self {
                url,
                description: description.unwrap_or_default().to_owned(),
                event_types,
                enabled: draft.enabled.unwrap_or(true),
            }),
            _ => Err(Error::Invalid(wrong)),
        }
    }
}

impl Endpoint {
    /// A new one.
    pub(crate) fn new(id: Uuid, settings: EndpointSettings, secret: SigningSecret, now: OffsetDateTime) -> Self {
        Self {
            id,
            settings,
            disabled_reason: None,
            secret,
            old_secret: None,
            version: 1,
            created_at: now,
            updated_at: now,
        }
    }

    /// Whether it wants to hear of `kind`.
    pub(crate) fn wants(&self, kind: EventType) -> bool {
        self.settings.enabled && self.settings.event_types.contains(&kind)
    }

    /// Puts new settings in place of the old, if it is in the state that is expected.
    pub(crate) fn replace(
        &mut self,
        settings: EndpointSettings,
        expected: &Expected,
        now: OffsetDateTime,
    ) -> Result<()> {
        self.expect(expected)?;
        if settings.enabled {
            self.disabled_reason = None;
        }
        self.settings = settings;
        self.changed(now);
        Ok(())
    }

    /// Signs with `secret` from now on, and with the one before as well for `overlap`, so that receivers can change
    /// theirs in between.
    pub(crate) fn rotate(&mut self, secret: SigningSecret, overlap: Duration, now: OffsetDateTime) {
        let before = std::mem::replace(&mut self.secret, secret);
        self.old_secret = Some((before, now + overlap));
        self.changed(now);
    }

    /// Sends nothing there any more.
    pub(crate) fn disable(&mut self, reason: &str, now: OffsetDateTime) {
        self.settings.enabled = false;
        self.disabled_reason = Some(reason.to_owned());
        self.changed(now);
    }

    /// The secrets to sign with at `now`, the newest first.
    pub(crate) fn secrets(&self, now: OffsetDateTime) -> Vec<SigningSecret> {
        let old = self.old_secret.iter().filter(|(_, until)| *until > now).map(|(secret, _)| secret);
        std::iter::once(&self.secret).chain(old).cloned().collect()
    }

    /// Whether it is in the state that is expected.
    pub(crate) fn expect(&self, expected: &Expected) -> Result<()> {
        if expected.admits(self.version) { Ok(()) } else { Err(Error::VersionMismatch) }
    }

    fn changed(&mut self, now: OffsetDateTime) {
        self.version += 1;
        self.updated_at = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;

    fn draft(url: &str) -> EndpointDraft {
        EndpointDraft { url: url.to_owned(), ..EndpointDraft::default() }
    }

    fn endpoint() -> Endpoint {
        let settings = EndpointSettings::parse(&draft("https://a.example/"), Reach::default()).expect("is fine");
        Endpoint::new(Uuid::nil(), settings, SigningSecret::from_key([1; 32]), NOW)
    }

    #[test]
    fn what_is_left_out_means_everything() {
        let endpoint = endpoint();
        assert!(EventType::ALL.into_iter().all(|kind| endpoint.wants(kind)));
    }

    #[test]
    fn everything_wrong_is_named_at_once() {
        let draft = EndpointDraft {
            description: "a\nb".to_owned(),
            event_types: Some(vec!["x".to_owned()]),
            ..draft("http://10.0.0.1/")
        };
        let Err(Error::Invalid(fields)) = EndpointSettings::parse(&draft, Reach::default()) else {
            panic!("is refused")
        };
        let names: Vec<_> = fields.errors().iter().map(|field| field.field.as_str()).collect();
        assert_eq!(names, ["url", "description", "event_types"]);
    }

    #[test]
    fn a_rotated_secret_signs_beside_the_new_one_for_a_while() {
        let mut endpoint = endpoint();
        let new = SigningSecret::from_key([2; 32]);
        endpoint.rotate(new.clone(), Duration::hours(24), NOW);
        assert_eq!(endpoint.secrets(NOW), [new.clone(), SigningSecret::from_key([1; 32])]);
        assert_eq!(endpoint.secrets(NOW + Duration::hours(24)), [new]);
        assert_eq!(endpoint.version, 2);
    }

    #[test]
    fn an_endpoint_that_was_turned_off_is_on_again_when_somebody_says_so() {
        let mut endpoint = endpoint();
        endpoint.disable("gone", NOW);
        assert!(!endpoint.wants(EventType::Completed));
        let settings = EndpointSettings::parse(&draft("https://b.example/"), Reach::default()).expect("is fine");
        endpoint.replace(settings, &Some(2).into(), NOW).expect("is taken");
        assert!(endpoint.wants(EventType::Completed));
        assert_eq!(endpoint.disabled_reason, None);
    }
}
