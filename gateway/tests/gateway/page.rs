//! The live page, in a real browser.

use serde_json::{Value, json};
use shop_testing::{Browser, eventually};

use crate::support::{Mortal, Running, backends, config, nobody, service};

const TOKEN: &str = "correct-horse-battery";

/// Where the page is, as the browser calls it.
fn page(gateway: &Running) -> String {
    format!("http://localhost:{}/admin/ui", gateway.operators.port())
}

/// A selector for the first backend of a service.
fn backend(service: &str) -> String {
    format!("[data-key={service}] .backend")
}

/// Whether the page says `expected` there.
async fn says(browser: &Browser, selector: &str, expected: &str) -> Result<(), String> {
    let text = browser.text(selector).await;
    if text.contains(expected) { Ok(()) } else { Err(format!("{selector} says {text:?}, not {expected:?}")) }
}

/// What a person sees who scrolls sideways: nothing, it is hoped.
async fn overflows(browser: &Browser) -> Value {
    browser
        .run(
            "const wide = document.documentElement.clientWidth;
             return [...document.querySelectorAll('body *')]
               .filter((one) => one.getBoundingClientRect().right > wide + 1)
               .map((one) => `${one.tagName}.${one.className} ${one.textContent.slice(0, 40)}`)
               .concat(document.documentElement.scrollWidth > wide ? ['the page itself'] : [])",
        )
        .await
}

#[tokio::test]
async fn the_page_shows_what_happens_while_it_happens() {
    let Some(browser) = Browser::start().await else { return };
    let (mut one, two) = (Mortal::start(), Mortal::start());
    let mut settings = config(two.addr);
    settings.circuit_breaker.enabled = true;
    settings.services["product"].urls = backends(&[one.addr]);
    settings.services["product"].grpc_urls = backends(&[]);
    settings.services["basket"].urls = backends(&[two.addr, one.addr]);
    let gateway = Running::start(settings).await;
    gateway.get("/api/products").await;
    browser.resize(1280, 900, false).await;
    browser.open(&page(&gateway)).await;
    eventually!(says(&browser, "#link", "live").await);
    eventually!(says(&browser, "#status", "up").await);
    let names = browser
        .run("return [...document.querySelectorAll('#services > .service')].map((one) => one.dataset.key)")
        .await;
    assert_eq!(names, json!(["basket", "notification", "payment", "product"]));
    let product = backend("product");
    eventually!(says(&browser, &product, "up").await);
    says(&browser, &product, &one.addr.to_string()).await.expect("its address");

    // A mark that a page loaded anew would not have.
    browser.run("window.same = true").await;
    let address = one.addr;
    one.kill();
    eventually!({
        for _ in 0..5 {
            gateway.get("/api/products").await;
        }
        says(&browser, &format!("{product}.down"), "breaker open").await
    });
    let red = format!("return getComputedStyle(document.querySelector('{product} .dot')).backgroundColor");
    assert_eq!(browser.run(&red).await, "rgb(179, 38, 30)");
    eventually!(says(&browser, "#refusals", "breaker_open").await);
    let plotted = |selector: &str| {
        let of = format!("[data-key=product] {selector}");
        let browser = &browser;
        async move {
            let path = format!("return document.querySelector('{of}').getAttribute('d') || ''");
            let drawn = browser.run(&path).await;
            if drawn.as_str().is_some_and(|path| path.contains('M')) { Ok(()) } else { Err(format!("{of}: {drawn}")) }
        }
    };
    for part in ["[data-is=rate-line]", "[data-is=p99-line]", ".backend [data-is=line]", ".backend [data-is=open]"] {
        eventually!({
            gateway.get("/api/products").await;
            plotted(part).await
        });
    }
    eventually!(says(&browser, "[data-key=product] .causes", "breaker open").await);
    eventually!({
        gateway.get("/api/products").await;
        says(&browser, "#routes [data-key=products]", "/api/products/*").await
    });
    says(&browser, "#refusals", "/api/products/*").await.expect("the route");
    eventually!(says(&browser, "#tiles", "p99").await);
    browser.keep("desktop-light").await;
    browser.prefer("dark").await;
    browser.keep("desktop-dark").await;
    assert_eq!(overflows(&browser).await, json!([]));
    for (name, scheme) in [("phone-dark", "dark"), ("phone-light", "light")] {
        browser.prefer(scheme).await;
        browser.resize(360, 780, true).await;
        assert_eq!(overflows(&browser).await, json!([]), "{name}");
        browser.keep(name).await;
    }
    browser.run("document.querySelector('#refusals-title').scrollIntoView()").await;
    browser.keep("phone-refusals").await;

    let _again = Mortal::at(address);
    browser.run(&format!("document.querySelector('{product}').scrollIntoView({{block: 'center'}})")).await;
    browser.click(&format!("{product} [data-is=reset]")).await;
    browser.keep("phone-question").await;
    browser.click("#yes").await;
    eventually!({
        gateway.get("/api/products").await;
        says(&browser, &format!("{product}.up"), "up").await
    });
    assert_eq!(browser.run("return window.same").await, true, "it was loaded once");
    assert_eq!(browser.console().await, Vec::<String>::new());
}

#[tokio::test]
async fn a_backend_is_drained_by_a_click_and_only_in_the_state_that_was_seen() {
    let Some(browser) = Browser::start().await else { return };
    let (one, two) = (Mortal::start(), Mortal::start());
    let mut settings = config(one.addr);
    settings.services["product"].urls = backends(&[one.addr, two.addr]);
    let gateway = Running::start(settings).await;
    browser.open(&page(&gateway)).await;
    eventually!(says(&browser, "#link", "live").await);
    let button = format!("{} [data-is=drain]", backend("product"));
    browser.click(&button).await;
    browser.click("#ask button[value=no]").await;
    browser.click(&button).await;
    browser.click("#yes").await;
    eventually!(says(&browser, &backend("product"), "drained").await);
    let path = format!("/admin/services/product/backends/{}?protocol=http", one.addr);
    assert_eq!(gateway.admin("GET", &path, "").await.json()["draining"], true);

    browser.click(&button).await;
    gateway.admin("PUT", "/admin/services/payment", r#"{"strategy": "random"}"#).await;
    browser.click("#yes").await;
    eventually!(says(&browser, "#notice", "changed meanwhile").await);
    assert_eq!(gateway.admin("GET", &path, "").await.json()["draining"], true);
    eventually!(says(&browser, "#about", "settings 3").await);
    browser.click(&button).await;
    browser.click("#yes").await;
    eventually!((gateway.admin("GET", &path, "").await.json()["draining"] == false).then_some(()));
}

#[tokio::test]
async fn the_token_is_asked_for_and_stays_in_the_tab() {
    let Some(browser) = Browser::start().await else { return };
    let mut settings = config(nobody());
    settings.admin.token = TOKEN.into();
    let gateway = Running::start(settings).await;
    browser.open(&page(&gateway)).await;
    eventually!(says(&browser, "#login", "Admin token").await);
    browser.keep("login").await;
    browser.write("#token", "wrong").await;
    browser.click("#login button").await;
    eventually!(says(&browser, "#notice", "not the token").await);
    browser.write("#token", TOKEN).await;
    browser.click("#login button").await;
    eventually!(says(&browser, "#link", "live").await);
    assert_eq!(browser.text("#login").await, "");
    browser.open(&page(&gateway)).await;
    eventually!(says(&browser, "#link", "live").await);
    let kept = "return [document.cookie, localStorage.length, location.href.includes('horse')]";
    assert_eq!(browser.run(kept).await, json!(["", 0, false]));
    browser.click("#forget").await;
    eventually!(says(&browser, "#login", "Admin token").await);
    browser.open(&page(&gateway)).await;
    eventually!(says(&browser, "#login", "Admin token").await);
    // The browser itself says that it was asked for a token; nothing else is wrong.
    let console = browser.console().await;
    assert!(console.iter().all(|line| line.contains("401 (Unauthorized)")), "{console:?}");
}

#[tokio::test]
async fn what_is_old_is_marked_and_the_page_finds_back() {
    let Some(browser) = Browser::start().await else { return };
    let mut settings = config(nobody());
    let gateway = Running::start(settings.clone()).await;
    browser.open(&page(&gateway)).await;
    eventually!(says(&browser, "#link", "live").await);
    gateway.shutdown.soft.cancel();
    eventually!(says(&browser, "[data-link=stale] #link", "stale since").await);
    gateway.ended.await.expect("no panic").expect("a clean end");
    browser.keep("stale").await;
    settings.admin.port = gateway.operators.port();
    let _again = Running::start(settings).await;
    eventually!(says(&browser, "[data-link=live] #link", "live").await);
}

#[tokio::test]
async fn what_happened_before_the_page_was_opened_is_on_it() {
    let Some(browser) = Browser::start().await else { return };
    let one = Mortal::start();
    let gateway = Running::before(one.addr).await;
    let kept = async || {
        let told = gateway.told("/admin/services/product").await;
        told["active_requests"].is_number() && gateway.history("product").await > 1
    };
    eventually!({
        gateway.get("/api/products").await;
        kept().await
    });
    browser.open(&page(&gateway)).await;
    eventually!(says(&browser, "#link", "live").await);
    let drawn = "return document.querySelector('[data-key=product] [data-is=rate-line]').getAttribute('d')";
    assert!(browser.run(drawn).await.as_str().is_some_and(|path| path.contains('L')), "a line, not a point");
}

#[tokio::test]
async fn a_thousand_backends_are_shown_in_part_and_found_by_name() {
    let Some(browser) = Browser::start().await else { return };
    let one = Mortal::start();
    let mut settings = config(one.addr);
    for number in 0..20_u8 {
        let addrs: Vec<_> = (1..=50_u8).map(|host| ([127, 9, number, host], 9).into()).collect();
        settings.services.insert(format!("many-{number}"), service(&addrs));
    }
    let gateway = Running::start(settings).await;
    browser.open(&page(&gateway)).await;
    eventually!(says(&browser, "#link", "live").await);
    let count = |selector: &str| format!("return document.querySelectorAll('{selector}').length");
    assert_eq!(browser.run(&count("#services > .service")).await, 24);
    assert_eq!(browser.run(&count("[data-key=many-3] .backend")).await, 12);
    // What is not on the screen has no place yet at which it could be clicked.
    browser.run("document.querySelector('[data-key=many-3] .more').click()").await;
    eventually!(browser.run(&count("[data-key=many-3] .backend")).await == 50);
    browser.write("#filter", "127.9.7.33").await;
    eventually!(browser.run(&count("#services > .service")).await == 1);
    assert_eq!(browser.run(&count("[data-key=many-7] .backend")).await, 1);
    browser.run("document.querySelector('#filter').value = ''").await;
    browser.write("#filter", "/api/pay").await;
    let names = "return [...document.querySelectorAll('#services > .service')].map((one) => one.dataset.key)";
    eventually!(browser.run(names).await == json!(["payment"]));
    browser.run("document.querySelector('#filter').value = ''").await;
    browser.write("#filter", "no such thing").await;
    eventually!(says(&browser, "#nothing", "Nothing has that in its name").await);
    assert_eq!(browser.console().await, Vec::<String>::new());
}

#[tokio::test]
async fn names_from_elsewhere_are_text() {
    let Some(browser) = Browser::start().await else { return };
    let gateway = Running::before(nobody()).await;
    browser.open(&page(&gateway)).await;
    eventually!(says(&browser, "#link", "live").await);
    let hurt =
        "try { document.body.innerHTML = '<img src=x onerror=alert(1)>'; return 'done' } catch { return 'refused' }";
    assert_eq!(browser.run(hurt).await, "refused");
    let load = "const script = document.createElement('script'); script.src = 'data:text/javascript,window.hurt=1'";
    let refused = browser.run(&format!("try {{ {load}; return 'done' }} catch {{ return 'refused' }}")).await;
    assert_eq!(refused, "refused");
}

/// For the README, when somebody asks for pictures (`make pictures`): a shop that sells, and one backend of three that died.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_as_the_readme_shows_it() {
    if shop_testing::variable("SHOP_TEST_SCREENSHOTS").is_none() {
        return;
    }
    let Some(browser) = Browser::start().await else { return };
    let mut all: Vec<_> = (0..8).map(|_| Mortal::start()).collect();
    let addresses: Vec<_> = all.iter().map(|one| one.addr).collect();
    let mut settings = config(addresses[0]);
    settings.circuit_breaker.enabled = true;
    let services = &mut settings.services;
    for (service, own) in [
        ("product", &addresses[..3]),
        ("basket", &addresses[3..5]),
        ("payment", &addresses[5..7]),
        ("notification", &addresses[7..]),
    ] {
        services[service].urls = backends(own);
        services[service].grpc_urls = backends(&[]);
    }
    let gateway = Running::start(settings).await;
    browser.resize(1280, 800, false).await;
    browser.open(&page(&gateway)).await;
    eventually!(says(&browser, "#link", "live").await);
    let sell = async |seconds: u32| {
        for turn in 0..seconds * 40 {
            let path = ["products", "products", "baskets/ada", "products", "payments", "notifications"];
            gateway.get(&format!("/api/{}", path[turn as usize % path.len()])).await;
            tokio::time::sleep(std::time::Duration::from_millis(25)).await;
        }
    };
    sell(8).await;
    all[1].kill();
    sell(6).await;
    for scheme in ["light", "dark"] {
        browser.prefer(scheme).await;
        sell(1).await;
        browser.keep(&format!("live-{scheme}")).await;
    }
}
