//! Who the backends of a service are: looked up in DNS (addresses and SRV records) and in files, again and again.
//!
//! What was found last stays in force while a source fails, and while one that took its place has yet to answer: that names cannot
//! be resolved says nothing about those who had them. Answers of DNS are asked for again when their time to live is over. Whoever
//! uses it is a [`Subscriber`]: it says where to look ([`Plan`]) and is told what to put into force.
//!
//! ```
//! use std::sync::{Arc, Mutex};
//!
//! use shop_discovery::{Discovery, Group, Latest, Place, Plan, Protocol, Subscriber, settings};
//!
//! struct Backends {
//!     place: Place,
//!     known: Mutex<Vec<String>>,
//! }
//!
//! impl Subscriber for Backends {
//!     fn plan(&self) -> Plan {
//!         let places = vec![self.place.clone()];
//!         Plan { settings: settings::Discovery::default(), named: places.clone(), asked: places }
//!     }
//!
//!     fn publish(&self, _: &Group, latest: &dyn Fn() -> Latest) -> Result<(), String> {
//!         let mut known = self.known.lock().map_err(|error| error.to_string())?;
//!         *known = latest().backends.iter().map(ToString::to_string).collect();
//!         Ok(())
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let folder = tempfile::tempdir()?;
//! let file = folder.path().join("search.json");
//! std::fs::write(&file, r#"{"http": ["10.0.0.1:9200", "http://10.0.0.2:9200;weight=2"]}"#)?;
//! let url = format!("file://{}", file.display()).parse()?;
//! let place = Place { service: "search".into(), protocol: Protocol::Http, url };
//! let backends = Arc::new(Backends { place, known: Mutex::default() });
//!
//! let discovery = Discovery::default();
//! discovery.begin(&backends).await;
//! assert_eq!(*backends.known.lock().expect("not poisoned"), ["http://10.0.0.1:9200", "http://10.0.0.2:9200"]);
//!
//! // A file that is gone for a while changes nothing.
//! std::fs::remove_file(&file)?;
//! discovery.begin(&backends).await;
//! assert_eq!(backends.known.lock().expect("not poisoned").len(), 2);
//! # Ok(())
//! # }
//! ```

mod backend_url;
mod discovery;
mod dns;
mod file;
mod invalid_backend;
mod known;
mod place;
pub mod settings;
mod source;

pub use backend_url::{BackendUrl, Backends};
pub use discovery::{Discovery, Latest, Subscriber};
pub use invalid_backend::InvalidBackend;
pub use place::{Group, Kind, Place, Plan, Protocol};
pub use source::SourceUrl;
