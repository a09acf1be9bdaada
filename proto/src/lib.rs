//! The shop's gRPC interface, generated from `shop/*/v1/*.proto`.
//!
//! Messages, clients and servers live in the module of their package; the `.proto` files are the documentation.
#![expect(clippy::pedantic, reason = "generated code, written for machines")]

mod repeatable;
mod values;

pub use values::{time, timestamp};

/// Types that more than one service speaks.
pub mod common {
    /// Version 1.
    pub mod v1 {
        tonic::include_proto!("shop.common.v1");
    }
}

/// The catalogue and its stock.
pub mod product {
    /// Version 1.
    pub mod v1 {
        tonic::include_proto!("shop.product.v1");
    }
}

/// Baskets.
pub mod basket {
    /// Version 1.
    pub mod v1 {
        tonic::include_proto!("shop.basket.v1");
    }
}

/// Payments.
pub mod payment {
    /// Version 1.
    pub mod v1 {
        tonic::include_proto!("shop.payment.v1");
    }
}

/// Notifications.
pub mod notification {
    /// Version 1.
    pub mod v1 {
        tonic::include_proto!("shop.notification.v1");
    }
}

/// The encoded `FileDescriptorSet` of every package above with its imports, for server reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/shop.binpb"));

#[cfg(test)]
mod tests {
    use super::*;
    use prost::Message;

    #[test]
    fn descriptor_set_names_every_service() {
        let set = prost_types::FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).expect("decodes");
        let mut services: Vec<_> = set
            .file
            .iter()
            .flat_map(|file| file.service.iter().map(|s| format!("{}.{}", file.package(), s.name())))
            .collect();
        // Files are in an order in which each stands after those that it imports.
        services.sort_unstable();
        assert_eq!(
            services,
            [
                "shop.basket.v1.BasketService",
                "shop.notification.v1.PersonalService",
                "shop.payment.v1.PaymentService",
                "shop.payment.v1.SettlementService",
                "shop.product.v1.ProductService",
                "shop.product.v1.StockService"
            ]
        );
    }
}
