//! What traces cost a process: the same requests without a collector, with one that nothing is recorded for, with a hundredth of
//! all traces, with all of them. The processes run beside each other and take turns.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use shop_testing::Collector;

use crate::baseline;
use crate::client::{Connection, load};
use crate::process::{Process, free_port};
use crate::report::{measured, note};
use crate::scenario::{expect, make_product};
use crate::stores::variable;
use crate::{Size, report};

/// What is compared: the share of new traces that a collector gets, if there is one, and the callers' `traceparent`.
const KINDS: [(&str, Option<&str>, Option<&str>); 5] = [
    ("no collector", None, None),
    ("ratio 0", Some("0"), None),
    (
        "ratio 1, the caller's trace is not recorded",
        Some("1"),
        Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"),
    ),
    ("ratio 0.01", Some("0.01"), None),
    ("ratio 1", Some("1"), None),
];

/// Spans leave after so long, so that a round need not wait for those of its end.
const DELAY: Duration = Duration::from_millis(200);

/// What one kind of process came to, round by round.
#[derive(Default)]
struct Column {
    /// Microseconds of CPU a request.
    cpu: Vec<f64>,
    /// The same divided by what the process without a collector took in that round.
    ratio: Vec<f64>,
    spans: usize,
}

/// Product-service on PostgreSQL, and a gateway in front of the one without a collector.
pub(crate) async fn tracing(size: Size, rounds: usize) -> anyhow::Result<()> {
    let collector = Collector::start().await;
    let postgres = baseline::database(&variable("SHOP_TEST_POSTGRES_URL")?, "shop_bench_traces").await?;
    let prefix = format!("traces-{}-", std::process::id());
    let bus = [
        ("KAFKA_BROKERS", variable("SHOP_TEST_KAFKA_BROKERS")?),
        ("SHOP_KAFKA__TOPIC_PREFIX", prefix.clone()),
        ("SHOP_KAFKA__GROUP_PREFIX", prefix),
        ("SHOP_KAFKA__REPLICATION", "1".to_owned()),
        ("DATABASE_URL", postgres),
    ];
    let mut products = Vec::new();
    for (_, ratio, _) in KINDS {
        products.push(start("product-service", &bus, ratio, &collector).await?);
    }
    let mut catalogue = Connection::open(&products[0].host).await?;
    let mut ids = Vec::new();
    for number in 0..100 {
        ids.push(make_product(&mut catalogue, number, 1).await?);
    }
    let upstream = [
        ("PRODUCT_SERVICE_URLS", format!("http://{}", products[0].host)),
        ("SHOP_RATE_LIMIT__ENABLED", "false".to_owned()),
    ];
    let mut gateways = Vec::new();
    for (_, ratio, _) in KINDS {
        gateways.push(start("gateway", &upstream, ratio, &collector).await?);
    }
    let Size { requests, connections } = size;
    note(&format!(
        "{rounds} rounds of {requests} requests, {connections} connections; medians, and the least and most of all rounds"
    ));
    report::columns(&["GET of a product", "CPU µs a request", "of no collector", "spans a request"]);
    compare("product-service", &products, "/products", &ids, size, rounds, &collector).await?;
    compare("gateway", &gateways, "/api/products", &ids, size, rounds, &collector).await
}

/// Starts `binary` on a port of its own; with a `ratio` it sends so many of its traces to `collector`.
async fn start(
    binary: &'static str,
    own: &[(&'static str, String)],
    ratio: Option<&str>,
    collector: &Collector,
) -> anyhow::Result<Process> {
    let port = free_port()?;
    let mut variables = own.to_vec();
    variables.extend([
        ("PORT", port.to_string()),
        ("ADMIN_PORT", "0".to_owned()),
        ("GRPC_PORT", free_port()?.to_string()),
        ("IDENTITY_MODE", "off".to_owned()),
    ]);
    if let Some(ratio) = ratio {
        variables.extend([
            ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint()),
            ("OTEL_TRACES_SAMPLER_ARG", ratio.to_owned()),
            // All that is made in a round, so that none is dropped: that would look cheap.
            ("OTEL_BSP_MAX_QUEUE_SIZE", "1000000".to_owned()),
            ("OTEL_BSP_SCHEDULE_DELAY", DELAY.as_millis().to_string()),
        ]);
    }
    Ok(Process::start(binary, &[], &variables, format!("127.0.0.1:{port}"), "/health/ready").await?.0)
}

/// Loads each of `processes` in turn, round by round, and prints a row for each.
async fn compare(
    what: &str,
    processes: &[Process],
    path: &str,
    ids: &[i64],
    Size { requests, connections }: Size,
    rounds: usize,
    collector: &Collector,
) -> anyhow::Result<()> {
    let mut columns = KINDS.map(|_| Column::default());
    // The first round warms up.
    for round in 0..=rounds {
        // The first has no collector.
        let mut bare = None;
        for ((process, (_, _, caller)), column) in processes.iter().zip(KINDS).zip(&mut columns) {
            collector.take();
            let calls = async |c: &mut [Connection], n: usize| {
                let path = format!("{path}/{}", ids[n % ids.len()]);
                expect(c[0].get(&path, caller.map(|caller| ("traceparent", caller))).await?, 200)
            };
            let mut spans = 0;
            let work = async {
                let done = load(&[&process.host], connections, requests, calls).await?;
                spans = settled(collector).await;
                Ok(done)
            };
            let (_, spent) = measured(&[process], work).await?;
            let cpu = spent.first().context("no process")?.1.as_secs_f64() * 1e6 / requests as f64;
            ensure!(cpu > 0.0, "{requests} requests are too few to be measured");
            let bare = *bare.get_or_insert(cpu);
            if round > 0 {
                column.cpu.push(cpu);
                column.ratio.push(cpu / bare);
                column.spans += spans;
            }
        }
    }
    for ((kind, ..), mut column) in KINDS.into_iter().zip(columns) {
        let spans = column.spans as f64 / (requests * rounds) as f64;
        report::cells(&[
            format!("{what}, {kind}"),
            spread(&mut column.cpu, 1),
            spread(&mut column.ratio, 2),
            format!("{spans:.2}"),
        ]);
    }
    Ok(())
}

/// How many spans came, once no more do.
async fn settled(collector: &Collector) -> usize {
    let mut sum = 0;
    loop {
        tokio::time::sleep(DELAY * 3).await;
        match collector.take().len() {
            0 => return sum,
            more => sum += more,
        }
    }
}

/// The median, the least and the most.
fn spread(values: &mut [f64], digits: usize) -> String {
    values.sort_unstable_by(f64::total_cmp);
    let at = |index: usize| values.get(index).copied().unwrap_or_default();
    let (least, median, most) = (at(0), at(values.len() / 2), at(values.len().saturating_sub(1)));
    format!("{median:.digits$} ({least:.digits$} to {most:.digits$})")
}
