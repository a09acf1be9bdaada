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

/// How long a rotation is known again: no shorter than a repeat of it may come under its idempotency key.
const ROTATIONS_KEPT: Duration = Duration::hours(48);

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
    /// Which requests changed the secret lately, and when, the last one last: a repeat changes nothing.
    pub(crate) rotations: Vec<(Uuid, OffsetDateTime)>,
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
            rotations: Vec::new(),
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
    /// theirs in between. Once for each `operation`: a repeat of the last one changes nothing, whatever it expects; one that
    /// was followed by another is refused, for its secret cannot be told any more.
    pub(crate) fn rotate(
        &mut self,
        operation: Uuid,
        expected: &Expected,
        secret: SigningSecret,
        overlap: Duration,
        now: OffsetDateTime,
    ) -> Result<()> {
        match self.rotations.iter().rposition(|(known, _)| *known == operation) {
            Some(at) if at + 1 == self.rotations.len() => return Ok(()),
            Some(_) => return Err(Error::RotatedSince(self.id)),
            None => self.expect(expected)?,
        }
        let before = std::mem::replace(&mut self.secret, secret);
        self.old_secret = Some((before, now + overlap));
        self.rotations.retain(|(_, at)| *at + ROTATIONS_KEPT > now);
        self.rotations.push((operation, now));
        self.changed(now);
        Ok(())
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
        rotate(&mut endpoint, 1, &new, NOW).expect("is rotated");
        assert_eq!(endpoint.secrets(NOW), [new.clone(), SigningSecret::from_key([1; 32])]);
        assert_eq!(endpoint.secrets(NOW + Duration::hours(24)), [new]);
        assert_eq!(endpoint.version, 2);
    }

    fn rotate(endpoint: &mut Endpoint, operation: u128, new: &SigningSecret, now: OffsetDateTime) -> Result<()> {
        let operation = Uuid::from_u128(operation);
        endpoint.rotate(operation, &Expected::default(), new.clone(), Duration::hours(24), now)
    }

    #[test]
    fn a_rotation_whose_answer_was_lost_is_repeated_without_a_third_secret() {
        let (mut endpoint, [new, newer]) = (endpoint(), [2, 3].map(|n| SigningSecret::from_key([n; 32])));
        rotate(&mut endpoint, 1, &new, NOW).expect("is rotated");
        let once = endpoint.clone();
        rotate(&mut endpoint, 1, &newer, NOW + Duration::HOUR).expect("is known");
        // The first one moved the version on: the repeat still expects the one before.
        let repeat = endpoint.rotate(Uuid::from_u128(1), &Some(1).into(), newer.clone(), Duration::HOUR, NOW);
        repeat.expect("is known");
        assert_eq!(endpoint, once);
        rotate(&mut endpoint, 2, &newer, NOW).expect("is another one");
        let late = rotate(&mut endpoint, 1, &new, NOW);
        assert!(matches!(late, Err(Error::RotatedSince(_))), "its secret cannot be told any more");
        rotate(&mut endpoint, 3, &new, NOW + Duration::hours(48)).expect("is another one");
        assert_eq!(endpoint.rotations, [(Uuid::from_u128(3), NOW + Duration::hours(48))], "they do not pile up");
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
