//! The result of `run --dry-run`, as text or JSON.

use indicatif::{HumanBytes, HumanCount, HumanDuration};
use serde_json::{Value, json};

use super::format::Format;
use super::page;
use crate::cost::Sum;
use crate::error::Result;
use crate::measurement::Plan;
use crate::run::forecast::Forecast;

/// Prints the forecast of a run.
///
/// # Errors
/// When standard output cannot be written.
pub fn print(forecast: &Forecast, plan: &Plan, format: Format) -> Result<()> {
    match format {
        Format::Text => page::print(&text(forecast, plan)),
        Format::Json => page::print_json(&json(forecast, plan)),
    }
}

fn text(forecast: &Forecast, plan: &Plan) -> String {
    let [least, usual, most] = forecast.sums;
    let [shortest, longest] = forecast.seconds;
    let count = |sum: Sum| HumanCount(sum.packets).to_string();
    let bytes = |sum: Sum| HumanBytes(sum.octets).to_string();
    let mut lines = vec![
        format!("{}: nothing was sent or changed. Forecast of a run:", plan.title),
        format!(
            "  targets      {} of {} read",
            HumanCount(forecast.targets),
            HumanCount(forecast.account.read)
        ),
        format!("  connections  {}", HumanCount(forecast.attempts)),
        format!(
            "  packets      usually {}, at least {}, at most {}",
            count(usual),
            count(least),
            count(most)
        ),
        format!(
            "  octets       usually {}, at least {}, at most {}",
            bytes(usual),
            bytes(least),
            bytes(most)
        ),
        format!(
            "  time         at least {}, by {}; about {} if no target answers",
            HumanDuration(shortest),
            forecast.bound,
            HumanDuration(longest)
        ),
    ];
    if forecast.read > 0 {
        let read =
            format!("  read         at most {} of what targets send", HumanBytes(forecast.read));
        lines.insert(5, read);
    }
    lines.extend(forecast.ring.map(|ring| {
        format!(
            "  memory       at most {}, of them {} for captured packets: {}",
            HumanBytes(forecast.memory),
            HumanBytes(ring.octets),
            ring.why
        )
    }));
    lines.extend(forecast.account.notes().into_iter().map(|note| format!("  {note}")));
    lines.join("\n") + "\n"
}

fn json(forecast: &Forecast, plan: &Plan) -> Value {
    let [packets, octets] = [|sum: &Sum| sum.packets, |sum: &Sum| sum.octets].map(|of| {
        let [least, usual, most] = &forecast.sums;
        json!({ "least": of(least), "usual": of(usual), "most": of(most) })
    });
    let [least, silent] = forecast.seconds.map(|span| span.as_secs_f64());
    json!({
        "measurement": plan.name,
        "dry_run": true,
        "targets": { "read": forecast.account.read, "asked": forecast.targets, "refused": forecast.account.refusals() },
        "attempts": forecast.attempts,
        "packets": packets,
        "octets": octets,
        "read": { "most": forecast.read },
        "memory": { "most": forecast.memory, "capture_buffer": forecast.ring.map(|ring| ring.octets),
                    "capture_buffer_by": forecast.ring.map(|ring| ring.why.to_string()) },
        "seconds": { "least": least, "if_silent": silent, "bound": forecast.bound },
    })
}
