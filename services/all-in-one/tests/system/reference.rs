//! The page that describes the whole API, in a real browser: somebody buys on it.

use serde_json::{Value, json};
use shop_testing::{Browser, eventually};

use crate::shop::Shop;

/// An operation on the page.
struct Operation<'a> {
    browser: &'a Browser,
    block: String,
}

impl<'a> Operation<'a> {
    /// Opens the operation and makes its fields ready.
    async fn open(browser: &'a Browser, method: &str, path: &str) -> Self {
        let block = format!(".opblock-{method}:has(.opblock-summary-path[data-path=\"{path}\"])");
        eventually!(is_there(browser, &block).await);
        let operation = Self { browser, block };
        operation.click(".opblock-summary-control").await;
        operation.click(".try-out__btn").await;
        operation
    }

    async fn click(&self, what: &str) {
        let selector = format!("{} {what}", self.block);
        eventually!(is_there(self.browser, &selector).await);
        self.browser.click(&selector).await;
    }

    async fn fill(&self, what: &str, text: &str) {
        let selector = format!("{} {what}", self.block);
        eventually!(is_there(self.browser, &selector).await);
        self.browser.paste(&selector, text).await;
    }

    async fn parameter(&self, name: &str, value: &str) {
        self.fill(&format!("tr[data-param-name=\"{name}\"] input"), value).await;
    }

    async fn body(&self, body: &Value) {
        self.fill("textarea.body-param__text", &body.to_string()).await;
    }

    /// Sends it, and reads what the page shows of the answer.
    async fn execute(&self) -> (String, Value) {
        self.click(".btn.execute").await;
        let answer = format!("{} .live-responses-table", self.block);
        let status = format!("{answer} tbody .response-col_status");
        eventually!(is_there(self.browser, &status).await);
        let status = self.browser.text(&status).await;
        // The block with the body; the one below it has the headers.
        let body = self.browser.text(&format!("{answer} .highlight-code code")).await;
        let body = serde_json::from_str(&body).unwrap_or_else(|error| panic!("{error}: {status} {body}"));
        (status.lines().next().unwrap_or_default().to_owned(), body)
    }
}

async fn is_there(browser: &Browser, selector: &str) -> Result<(), String> {
    let found = browser.run(&format!("return document.querySelector({}) !== null", Value::from(selector))).await;
    if found == true { Ok(()) } else { Err(format!("no {selector}")) }
}

/// How wide the page is beyond the window; what scrolls by itself does not count.
async fn too_wide(browser: &Browser) -> Value {
    browser.run("const page = document.documentElement; return page.scrollWidth - page.clientWidth").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn somebody_buys_on_the_page_that_describes_the_api() {
    let Some(browser) = Browser::start().await else { return };
    let shop = Shop::embedded().await;
    let product = shop.product("A lamp", "12.50", 10).await;
    let origin = format!("http://localhost:{}", shop.at.gateway.expect("a gateway").port());
    browser.resize(1280, 1000, false).await;
    browser.open(&format!("{origin}/docs")).await;
    eventually!(is_there(&browser, ".opblock-summary-path[data-path=\"/api/products\"]").await);
    assert_eq!(browser.run("return document.title").await, "Shop API");
    browser.keep("reference-desktop").await;

    let add = Operation::open(&browser, "post", "/api/baskets/{user_id}/items").await;
    add.parameter("user_id", "ada").await;
    add.body(&json!({"product_id": product, "quantity": 2})).await;
    let (status, basket) = add.execute().await;
    assert_eq!((status.as_str(), &basket["item_count"]), ("200", &json!(2)), "{basket}");
    browser.run(&format!("document.querySelector('{} .responses-wrapper').scrollIntoView()", add.block)).await;
    browser.keep("reference-answer").await;

    let checkout = Operation::open(&browser, "post", "/api/payments").await;
    checkout.body(&json!({"user_id": "ada", "method": "credit_card"})).await;
    let (status, payment) = checkout.execute().await;
    assert_eq!((status.as_str(), &payment["status"]), ("201", &json!("pending")), "{payment}");

    let pay = Operation::open(&browser, "post", "/api/payments/{id}/process").await;
    pay.parameter("id", payment["id"].as_str().expect("an id")).await;
    pay.body(&json!({})).await;
    let (status, paid) = pay.execute().await;
    assert_eq!((status.as_str(), &paid["status"]), ("200", &json!("completed")), "{paid}");
    shop.eventually("the units are sold", async || shop.stock(product).await == (8, 8, 2)).await;
    shop.eventually("the basket is empty", async || shop.basket_items("ada").await.is_empty()).await;

    // Found by words, wherever they are said.
    browser.paste(".search input", "payment refund").await;
    let shown = "return [...document.querySelectorAll('.opblock-summary-path')].map((one) => one.dataset.path)";
    eventually!({
        let shown = browser.run(shown).await;
        (shown == json!(["/api/payments/{id}/refund"])).then_some(()).ok_or(shown)
    });

    browser.open(&format!("{origin}/docs")).await;
    eventually!(is_there(&browser, ".opblock-summary-path[data-path=\"/api/products\"]").await);
    browser.resize(360, 780, true).await;
    browser.keep("reference-phone").await;
    Operation::open(&browser, "post", "/api/payments").await;
    browser.prefer("dark").await;
    eventually!(is_there(&browser, "html.dark-mode").await);
    browser.run("document.querySelector('.opblock.is-open').scrollIntoView()").await;
    browser.keep("reference-phone-dark").await;
    assert_eq!(too_wide(&browser).await, json!(0));

    let asked = "return performance.getEntriesByType('resource').map((one) => one.name)";
    let asked = browser.run(asked).await;
    let asked: Vec<_> = asked.as_array().expect("names").iter().filter_map(Value::as_str).collect();
    // Pictures of the style sheet are in it.
    let ours = |name: &&str| name.starts_with(&origin) || name.starts_with("data:");
    assert!(asked.len() > 4 && asked.iter().all(ours), "{asked:?}");
    // Nothing was refused by the page's policy, and nothing failed.
    assert_eq!(browser.console().await, Vec::<String>::new());
    shop.stop().await;
}
