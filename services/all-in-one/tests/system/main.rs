//! The suite as a client sees it, through the gateway: each situation once on embedded stores and once on
//! PostgreSQL, Redis, MariaDB and Kafka.

mod blame;
mod clients;
mod contention;
mod forgotten;
mod grpc;
mod healing;
mod ids;
mod kafka_away;
mod notices;
mod paid_once;
mod phone;
mod provider;
mod purchase;
mod reference;
mod shop;
mod tls;
mod vanish;

/// Runs each named situation on both sets of stores.
macro_rules! on_both {
    ($($situation:ident),+ $(,)?) => {
        mod embedded {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $situation() {
                let shop = crate::shop::Shop::embedded().await;
                super::$situation(&shop).await;
                shop.stop().await;
            })+
        }
        mod real {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $situation() {
                let Some(shop) = crate::shop::Shop::real().await else { return };
                super::$situation(&shop).await;
                shop.stop().await;
            })+
        }
    };
}
pub(crate) use on_both;
