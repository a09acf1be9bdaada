//! What goes wrong.

use std::time::Duration;

use shop_testing::{Cable, Place};

use super::{Region, Replica};
use crate::chance::Chance;

/// What leads from one of the region to another.
pub(super) struct Line {
    name: String,
    way: Way,
}

/// How it does.
pub(super) enum Way {
    /// By a cable of the test's to a server.
    Cable(Cable, String),
    /// Over the network, to another replica.
    Between(usize, usize),
    /// Over the network, to a server of a store.
    Store(usize, usize, usize),
}

impl Way {
    /// From one replica to another.
    pub(super) const fn between(from: usize, to: usize) -> Self {
        Self::Between(from, to)
    }

    /// From a replica to a server of a store.
    pub(super) const fn store(from: usize, store: usize, server: usize) -> Self {
        Self::Store(from, store, server)
    }
}

impl Region {
    /// A line from a replica to what is at `at`: the way over the network, or a cable where there is none. Where the line begins.
    pub(super) async fn line(&mut self, from: usize, to: &str, at: &str, way: Way) -> String {
        if self.replicas[from].place.is_some() {
            self.path(from, to, way);
            return at.to_owned();
        }
        let cable = Cable::to(at).await;
        let begins = cable.at().to_string();
        let name = format!("{} to {to}", kind_of(&self.replicas[from].name));
        self.lines.push(Line { name, way: Way::Cable(cable, at.to_owned()) });
        begins
    }

    /// The same where a cable cannot lead: there is a line only over a network.
    pub(super) fn path(&mut self, from: usize, to: &str, way: Way) {
        if self.replicas[from].place.is_some() {
            self.lines.push(Line { name: format!("{} to {to}", kind_of(&self.replicas[from].name)), way });
        }
    }

    /// The places at both ends of a way over the network.
    fn ends(&self, way: &Way) -> Option<(&Place, &Place)> {
        let of = |replica: &usize| self.replicas[*replica].place.as_ref();
        match way {
            Way::Cable(..) => None,
            Way::Between(from, to) => of(from).zip(of(to)),
            Way::Store(from, store, server) => of(from).zip(self.stores.spot(*store, *server)),
        }
    }

    /// One thing goes wrong, for a while; then it is mended. What it was.
    pub(super) async fn fault(&mut self, chance: &mut Chance) -> String {
        let (kind, lasts) = (chance.pick(18), Duration::from_millis(500 + 100 * chance.below(55)));
        match kind {
            0..=1 => {
                let index = chance.pick(self.replicas.len());
                let replica = &mut self.replicas[index];
                replica.stop().await;
                tokio::time::sleep(lasts).await;
                replica.start().await;
                format!("{} is stopped", kind_of(&replica.name))
            }
            2..=3 => {
                let index = chance.pick(self.replicas.len());
                let replica = &mut self.replicas[index];
                replica.process.kill();
                tokio::time::sleep(lasts).await;
                replica.start().await;
                format!("{} is killed", kind_of(&replica.name))
            }
            4..=5 => {
                let Replica { name, process, .. } = &self.replicas[chance.pick(self.replicas.len())];
                process.signal("STOP");
                tokio::time::sleep(lasts).await;
                process.signal("CONT");
                format!("{} is paused", kind_of(name))
            }
            6..=11 => self.cut(chance, lasts).await,
            _ => self.stores.lose(chance, lasts).await,
        }
    }

    async fn cut(&self, chance: &mut Chance, lasts: Duration) -> String {
        let (kind, line) = (chance.pick(4), &self.lines[chance.pick(self.lines.len())]);
        let name = &line.name;
        if let Some((from, to)) = self.ends(&line.way) {
            match kind {
                0 | 1 => {
                    from.lose_to(to);
                    to.lose_to(from);
                    tokio::time::sleep(lasts).await;
                    from.reach(to);
                    to.reach(from);
                    return format!("{name} is silent");
                }
                2 => {
                    from.cut_off();
                    tokio::time::sleep(lasts).await;
                    from.join();
                    return format!("{} is cut off", name.split(' ').next().unwrap_or(name));
                }
                _ => {
                    to.lose_to(from);
                    tokio::time::sleep(lasts).await;
                    to.reach(from);
                    return format!("{name} loses answers");
                }
            }
        }
        let Way::Cable(cable, server) = &line.way else { unreachable!("without a network there are cables only") };
        match kind {
            0 | 1 => cable.go_silent(),
            2 => cable.refuse(),
            _ => cable.lose_answers(),
        }
        tokio::time::sleep(lasts).await;
        cable.lead_to(server).await;
        format!("{name} {}", ["is silent", "is silent", "is refused", "loses answers"][kind])
    }
}

/// A replica's name without its number.
fn kind_of(name: &str) -> &str {
    name.split(' ').next().unwrap_or(name)
}
