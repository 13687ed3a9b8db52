//! How a trigger's verdict about an event reads: one line, with the reason.

use serde_json::Value;

use super::output::{Color, Output};
use super::words;

/// What stands before a verdict.
const MATCHED: &str = "✓";
const NOT_MATCHED: &str = "·";
const WRONG: &str = "!";

/// The line of one evaluation: what came of it, for which trigger or event, and why.
pub(super) fn line(output: &Output, whom: &str, evaluation: &Value) -> String {
    let word = evaluation.get("verdict").and_then(Value::as_str).unwrap_or("unknown");
    let (mark, color) = match word {
        "matched" => (MATCHED, Color::Green),
        "not-matched" => (NOT_MATCHED, Color::Grey),
        _ => (WRONG, Color::Red),
    };
    let whom = words::one_line(whom);
    let text = format!("{mark} {:<11}  {whom}{}", words::one_line(word), why(evaluation));
    output.paint(color, &text)
}

/// The deciding leaf and the reason, as far as they are known.
pub(super) fn why(evaluation: &Value) -> String {
    let text = |name: &str| evaluation.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    let told: Vec<String> = [text("leaf"), text("reason")].into_iter().flatten().map(words::one_line).collect();
    if told.is_empty() { String::new() } else { format!("  {}", told.join(": ")) }
}

#[cfg(test)]
mod tests {
    use super::super::args::Format;
    use super::*;
    use serde_json::json;

    #[test]
    fn verdicts_read_well() {
        let (output, _) = Output::captured(Format::Table);
        let check = |evaluation, expected: &str| assert_eq!(line(&output, "shop.vip", &evaluation), expected);
        check(json!({"verdict": "matched"}), "✓ matched      shop.vip");
        check(
            json!({"verdict": "not-matched", "leaf": "when[0].expr", "reason": "total is 3, not over 100"}),
            "· not-matched  shop.vip  when[0].expr: total is 3, not over 100",
        );
        check(json!({"verdict": "error", "reason": "trap\u{1b}"}), "! error        shop.vip  trap\\u{1b}");
        check(json!({"verdict": "held", "leaf": null, "reason": ""}), "! held         shop.vip");
    }
}
