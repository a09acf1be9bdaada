//! What tells one client from another, in 16 bytes.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A client, and below which policy its calls are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    /// The kind in the top eight bits, then 16 for the policy, then the first 40 of a hash.
    top: u64,
    low: u64,
}

const IPV4: u64 = 0;
const IPV6: u64 = 1;
const API_KEY: u64 = 2;
const SUBJECT: u64 = 3;
const KIND: u32 = 56;
const POLICY: u32 = 40;

impl Key {
    /// A client known by its address.
    pub(crate) fn of_address(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(v4) => Self { top: IPV4 << KIND, low: v4.to_bits().into() },
            IpAddr::V6(v6) => Self { top: IPV6 << KIND, low: (v6.to_bits() >> 64) as u64 },
        }
    }

    /// A client known by a secret of its own; 104 bits of its hash are enough to tell clients apart.
    fn of_hash(kind: u64, hash: [u8; 32]) -> Self {
        let part = |from: usize| u64::from_be_bytes(std::array::from_fn(|index| hash[from + index]));
        Self { top: kind << KIND | part(0) >> (64 - POLICY), low: part(8) }
    }

    /// A client known by the hash of its API key.
    pub(crate) fn of_api_key(hash: [u8; 32]) -> Self {
        Self::of_hash(API_KEY, hash)
    }

    /// A client known by the hash of a token's subject.
    pub(crate) fn of_subject(hash: [u8; 32]) -> Self {
        Self::of_hash(SUBJECT, hash)
    }

    /// The same client below a policy.
    pub(crate) fn below(self, policy: u16) -> Self {
        Self { top: self.top | u64::from(policy) << POLICY, low: self.low }
    }
}

/// Without the policy; the same in every process.
impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.top >> KIND {
            IPV4 => write!(f, "ip:{}", Ipv4Addr::from_bits(u32::try_from(self.low).unwrap_or_default())),
            IPV6 => write!(f, "ip:{}/64", Ipv6Addr::from_bits(u128::from(self.low) << 64)),
            kind => {
                let name = if kind == API_KEY { "key" } else { "sub" };
                write!(f, "{name}:{:010x}{:016x}", self.top & ((1 << POLICY) - 1), self.low)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv6_client_is_its_network_and_no_key_is_two_clients() {
        let key = |text: &str| Key::of_address(text.parse().expect("an address"));
        assert_eq!(key("2001:db8::1"), key("2001:db8::2"));
        assert_ne!(key("2001:db8::1"), key("2001:db8:0:1::1"));
        assert_ne!(key("1.2.3.4"), key("1.2.3.5"));
        assert_ne!(key("0.0.0.0"), key("::"));
        assert_ne!(key("1.2.3.4").below(1), key("1.2.3.4").below(2));
        assert_eq!(key("1.2.3.4").below(3).to_string(), "ip:1.2.3.4");
        assert_eq!(key("2001:db8:0:1::9").below(3).to_string(), "ip:2001:db8:0:1::/64");
    }
}
