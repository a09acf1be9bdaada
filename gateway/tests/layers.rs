//! No room of the gateway knows one that stands above it.

/// The rooms in reading order, and what each may know. Who needs more asks first whether the thing is defined in the right room.
const ROOMS: [shop_testing::layers::Room<'_>; 11] = [
    ("proxy", &["admin", "docs", "record", "server", "state", "routing", "upstream", "settings", "message"]),
    ("admin", &["docs", "state", "routing", "upstream", "metrics", "settings", "message"]),
    ("docs", &["state", "routing", "message"]),
    ("record", &["server", "state", "routing", "upstream", "metrics", "settings", "message"]),
    ("server", &["state", "upstream", "metrics", "settings", "message"]),
    ("state", &["routing", "metrics", "settings", "message"]),
    ("routing", &["upstream", "metrics", "settings", "message"]),
    ("upstream", &["message"]),
    ("metrics", &["message"]),
    ("settings", &["message"]),
    ("message", &[]),
];

#[test]
fn the_rooms_know_only_what_they_may() {
    shop_testing::layers::check_rooms(env!("CARGO_MANIFEST_DIR"), &ROOMS);
}
