//! `POST /orders` until accepted, as fast as the gateway responds; compared with the cost of the load and the broker.

use choreography_test::{Program, ProgramSettings, free_port};
use demo::Component;
use serde_json::json;

use crate::broker::Broker;
use crate::closed::{self, Responses};
use crate::latencies::Latencies;
use crate::options::{Setting, Span};
use crate::report::{Line, Report, Table};
use crate::stage::{self, Stage};
use crate::statistics::{median, number, per, rate};
use crate::usage::{Counted, Processes};

/// Rounds of one kind.
struct Rounds {
    name: &'static str,
    rates: Vec<f64>,
    latencies: Vec<Latencies>,
    /// The CPU time per request in microseconds: of the load, and of all other processes.
    cpu: Vec<(f64, f64)>,
}

/// Measures a trivial server, the broker, and the gateway in turn. The services that handle orders are stopped: the
/// response does not depend on them.
///
/// # Errors
///
/// If an order is refused.
pub async fn run(
    setting: &Setting,
    span: Span,
    connections: u64,
    progress: &(dyn Fn(&str) + Sync),
) -> anyhow::Result<Report> {
    let mut stage = Stage::start(setting, progress).await?;
    let handling = stage.chain.components().into_iter().filter(|component| *component != Component::ApiGateway);
    for component in handling.collect::<Vec<_>>() {
        stage.shop.stop(component).await?;
    }
    let mut broker = Broker::open(&stage).await?;
    let kind = |name| Rounds { name, rates: Vec::new(), latencies: Vec::new(), cpu: Vec::new() };
    let (mut trivial, mut alone, mut gateway) = (kind("trivial server"), kind("broker"), kind("gateway"));
    let gateway_url = stage.shop.config().http_url(Component::ApiGateway);
    for turn in 1..=span.rounds {
        let (server, url, processes) = trivial_server(&stage)?;
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        let (responses, used, _) = closed::saturate(&url, stage.orders, 0, span, connections, &processes).await?;
        trivial.add(responses, &used);
        drop(server);
        let (latencies, rate) = broker.closed(connections, span).await?;
        alone.latencies.push(latencies);
        alone.rates.push(rate);
        let processes = stage.processes();
        let (responses, used, placed) =
            closed::saturate(&gateway_url, stage.orders, stage.next, span, connections, &processes).await?;
        stage.next += placed;
        gateway.add(responses, &used);
        progress(&format!("round {turn}: {:.0} requests/s", gateway.rates.last().copied().unwrap_or_default()));
    }
    let mut table = Table::new(
        format!("POST to 202 on {connections} connections (medians)"),
        &["what", "requests/s", "p50 ms", "p99 ms", "CPU µs/request: load", "others"],
    );
    let mut report = Report::begin("round", "requests/s");
    for rounds in [&trivial, &alone, &gateway] {
        let of = |values: Vec<f64>| median(&values);
        let percentile = |percent| of(rounds.latencies.iter().map(|l| l.percentile(percent)).collect());
        table.add(vec![
            json!(rounds.name),
            json!(median(&rounds.rates)),
            json!(percentile(50.0)),
            json!(percentile(99.0)),
            json!(of(rounds.cpu.iter().map(|(load, _)| *load).collect())),
            json!(of(rounds.cpu.iter().map(|(_, others)| *others).collect())),
        ]);
        report.plot.lines.push(Line::of_rounds(rounds.name, &rounds.rates));
    }
    report.tables.push(table);
    stage.finish().await?;
    Ok(report)
}

impl Rounds {
    fn add(&mut self, responses: Responses, used: &std::collections::BTreeMap<String, crate::usage::Usage>) {
        let cpu = |of_load: bool| -> f64 {
            let counted = used.iter().filter(|(name, _)| (name.as_str() == "bench") == of_load);
            counted.map(|(_, usage)| number(u64::try_from(usage.cpu.as_micros()).unwrap_or(u64::MAX))).sum()
        };
        self.cpu.push((per(cpu(true), responses.accepted), per(cpu(false), responses.accepted)));
        self.rates.push(rate(responses.accepted, responses.length));
        self.latencies.push(responses.latencies);
    }
}

/// Starts a server that responds to every request with 202.
fn trivial_server(stage: &Stage) -> anyhow::Result<(Program, String, Processes)> {
    let config = stage.shop.config();
    let address = format!("127.0.0.1:{}", free_port());
    let on_line = stage::log(&config.data.join("trivial.log"))?;
    let program = Program::start(ProgramSettings {
        name: "trivial-server".to_owned(),
        program: stage::own_program()?,
        arguments: vec!["trivial-server".to_owned(), address.clone()],
        variables: Vec::new(),
        on_line: std::sync::Arc::new(move |line| on_line(Component::ApiGateway, line)),
    })?;
    let processes = [("trivial server", program.id()), ("bench", Some(std::process::id()))];
    let processes =
        processes.into_iter().filter_map(|(name, id)| Some((name.to_owned(), Counted::Alone(id?)))).collect();
    Ok((program, format!("http://{address}"), processes))
}
