//! A disk that fills up under the shop: writes are refused as unavailable, readiness says so, and all of it passes without a
//! restart once there is room.

use std::path::Path;
use std::time::Duration;

use reqwest::Method;
use rustix::process::{Pid, Resource, Rlimit, prlimit};
use serde_json::{Value, json};
use shop_testing::{Api, Process, Program, eventually, free_port};

/// Files may not grow over it: room for a new catalogue and a few products.
const SMALL: u64 = 512 * 1024;

struct Shop {
    process: Process,
    port: u16,
    product: Api,
    basket: Api,
}

impl Shop {
    async fn start(data: &Path) -> Self {
        let ports = [(); 9].map(|()| free_port());
        let names =
            ["PRODUCT__HTTP", "PRODUCT__GRPC", "BASKET__HTTP", "BASKET__GRPC", "PAYMENT__HTTP", "PAYMENT__GRPC"];
        let mut process = Process::new("shop")
            .env("IDENTITY_MODE", "off")
            .ignoring("XFSZ")
            .env("SHOP_DATA", data.display().to_string())
            .env("SHOP_DEMO", "false")
            .env("SHOP_GATEWAY__HTTP__PORT", ports[6].to_string())
            .env("ADMIN_PORT", "0")
            .env("SHOP_NOTIFICATION__HTTP__PORT", ports[7].to_string())
            .env("SHOP_NOTIFICATION__GRPC__PORT", ports[8].to_string());
        for (name, port) in names.iter().zip(ports) {
            process.set(&format!("SHOP_{name}__PORT"), port.to_string());
        }
        let at = |port: u16| Api::new(format_args!("127.0.0.1:{port}"));
        let mut shop = Self { process, port: ports[0], product: at(ports[0]), basket: at(ports[2]) };
        shop.process.start(shop.port).await;
        shop
    }

    /// Adds a product; whether there was room for it.
    async fn add(&self) -> bool {
        let body = json!({
            "name": "Walnut desk", "description": "oiled ".repeat(800), "price": 100, "stock_quantity": 1, "category": "desks",
        });
        is_written(self.product.post("/products", &body).await)
    }

    async fn readiness(&self) -> (u16, Value) {
        let reply = self.product.send(self.product.request(Method::GET, "/health/ready")).await;
        (reply.status, reply.json())
    }

    /// Fills the disk, sees what is said of it, makes room by `grow` and sees that gone.
    async fn fills_up_and_gets_room(mut self, grow: impl FnOnce(&Self)) {
        // The log may be emptied into the store and then take some more: full is what stays so.
        let mut refused = 0;
        for _ in 0..2000 {
            refused = if self.add().await { 0 } else { refused + 1 };
            if refused == 20 {
                break;
            }
        }
        assert_eq!(refused, 20, "it never fills up");
        eventually!(self.readiness().await.0 == 503);
        let (status, said) = self.readiness().await;
        assert_eq!((status, &said["checks"]["store"]["status"]), (503, &json!("down")), "{said}");
        assert!(!self.add().await, "there is still no room");

        grow(&self);
        eventually!(within Duration::from_secs(20), self.readiness().await.0 == 200);
        for _ in 0..5 {
            assert!(self.add().await, "is written as before");
            assert_eq!(self.readiness().await.0, 200);
        }
        assert!(is_written(self.basket.post("/baskets", &json!({"user_id": "ada"})).await));
        assert!(self.process.stop().await.success());
    }
}

/// Whether it was written; what was not must be told as what will pass.
fn is_written((status, body): (u16, Value)) -> bool {
    match status {
        200 | 201 => true,
        503 => {
            assert_eq!(body["code"], "store_unavailable", "{body}");
            false
        }
        _ => panic!("{status}: {body}"),
    }
}

fn limit(shop: &Shop, current: Option<u64>) {
    let id = Pid::from_raw(i32::try_from(shop.process.id()).expect("an id")).expect("not the first process");
    prlimit(Some(id), Resource::Fsize, Rlimit { current, maximum: None }).expect("our own child");
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_may_not_grow_stop_writes_for_as_long_as_they_may_not() {
    let data = tempfile::tempdir().expect("a folder");
    let shop = Shop::start(data.path()).await;
    limit(&shop, Some(SMALL));
    Box::pin(shop.fills_up_and_gets_room(|shop| limit(shop, None))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_stops_writes_for_as_long_as_it_is_full() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some(disk) = Disk::mount(folder.path()) else {
        println!("SKIPPED: only root may mount a small disk");
        return;
    };
    let shop = Shop::start(folder.path()).await;
    Box::pin(shop.fills_up_and_gets_room(|_| disk.grow())).await;
}

/// A small file system in memory, gone with this value.
struct Disk<'a>(&'a Path);

impl<'a> Disk<'a> {
    fn mount(at: &'a Path) -> Option<Self> {
        let mounted = Program::new("mount").args(["-t", "tmpfs", "-o", "size=4m", "shop-test"]).arg(at).run();
        mounted.status.success().then_some(Self(at))
    }

    fn grow(&self) {
        let grown = Program::new("mount").args(["-o", "remount,size=64m"]).arg(self.0).run();
        assert!(grown.status.success(), "cannot be made larger");
    }
}

impl Drop for Disk<'_> {
    fn drop(&mut self) {
        // Lazily: the shop may still be ending.
        drop(Program::new("umount").arg("-l").arg(self.0).run());
    }
}
