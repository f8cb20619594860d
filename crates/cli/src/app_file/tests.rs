//! What is shown for broken files, in full: golden.

use std::fmt::Write as _;

use super::*;

/// The problems of `text`, found by the parser or else by the server's own check.
fn check(text: &str) -> String {
    let document = match AppDocument::parse("shop.yaml", text.to_owned()) {
        Ok(document) => document,
        Err(problems) => return problems.to_string(),
    };
    match server::app_file::AppFile::read(document.value()) {
        Ok(_) => "fine".to_owned(),
        Err(problems) => {
            let fields = problems.into_iter().map(|it| FieldProblem {
                pointer: it.pointer,
                detail: it.detail,
            });
            document.problems(&fields.collect::<Vec<_>>()).to_string()
        }
    }
}

const GOOD: &str = r#"
app: checkout
workload:
  process: { replicas: 3 }
traffic:
  haproxy: { socket: /run/haproxy.sock, backend: shop }
strategy: { canary: {} }
"#;

const TEN_MISTAKES: &str = r#"# ten mistakes
app: Checkout
workload:
  process:
    replicas: many
    envv: { A: "1" }
traffic:
  haproxy: { socket: run/haproxy.sock, backend: shop }
strategy:
  canary:
    steps:
      - setWieght: 5
      - setWeight: 120
      - pause: soon
      - gate: { for: 10m, gates: [latency] }
gates:
  - name: errors
    threshold:
      query: up
  - name: p99
    threshold: { query: "rate(x[1m])", below: 0.5 }
    onFail: explode
"#;

#[test]
fn a_good_file_is_fine_in_yaml_and_json() {
    assert_eq!(check(GOOD), "fine");
    let document = AppDocument::parse("shop.yaml", GOOD.to_owned()).unwrap();
    let json = serde_json::to_string_pretty(document.value()).unwrap();
    assert_eq!(check(&json), "fine");
    let again = AppDocument::parse("shop.json", json.replace("  ", "\t")).unwrap();
    assert_eq!(again.value(), document.value());
}

#[test]
fn each_of_ten_mistakes_is_shown_at_its_place() {
    let shown = check(TEN_MISTAKES);
    assert!(shown.starts_with("10 problems in shop.yaml\n"), "{shown}");
    insta::assert_snapshot!(shown);
}

#[test]
fn broken_text_is_shown_at_its_place() {
    let bomb = (0..9).fold(
        "l0: &l0 [x, x, x, x, x, x, x, x]\n".to_owned(),
        |mut text, level| {
            let row = vec![format!("*l{level}"); 8].join(", ");
            writeln!(text, "l{0}: &l{0} [{row}]", level + 1).unwrap();
            text
        },
    );
    let deep = format!("app: {}{}", "[".repeat(200), "]".repeat(200));
    let cases = [
        (
            "keys given twice",
            "app: a\nworkload:\n  process: {}\n  process: {}\napp: b\n",
        ),
        ("a bracket left open", "app: shop\nstrategy: { canary: {}\n"),
        (
            "wrong indentation",
            "app: shop\n  workload:\n process: {}\n",
        ),
        ("a tab", "app: shop\nworkload:\n\tprocess: {}\n"),
        ("a quote left open", "app: \"shop\n"),
        ("an unknown alias", "app: *nothing\n"),
        ("two documents", "app: a\n---\napp: b\n"),
        ("not a map", "hello\n"),
        ("nothing", ""),
        ("an alias bomb", bomb.as_str()),
        ("too deep", deep.as_str()),
    ];
    let mut shown = String::new();
    for (what, text) in cases {
        let problems = check(text);
        assert_ne!(problems, "fine", "{what}");
        let cut: Vec<&str> = problems.lines().take(12).collect();
        writeln!(shown, "## {what}\n{}\n", cut.join("\n")).unwrap();
    }
    insta::assert_snapshot!(shown);
}

#[test]
fn scalars_mean_what_yaml_1_2_says() {
    let text = "a: yes\nb: on\nc: 007\nd: 1_000\ne: 0.5\nf: -3\ng: ~\nh: true\ni: \"5\"\nj: .nan\n";
    let document = AppDocument::parse("x", text.to_owned()).unwrap();
    let expected = serde_json::json!({
        "a": "yes", "b": "on", "c": "007", "d": "1_000", "e": 0.5, "f": -3, "g": null, "h": true,
        "i": "5", "j": ".nan"
    });
    assert_eq!(document.value(), &expected);
}

#[test]
fn a_pointer_with_escapes_and_one_into_an_alias_are_found() {
    let text = "base: &base\n  low: 5\nuse: *base\n\"a/b~c\": 1\n";
    let document = AppDocument::parse("x", text.to_owned()).unwrap();
    let line = |pointer: &str| {
        document
            .places
            .find(pointer, "wrong")
            .map(|it| (it.line, it.column))
    };
    assert_eq!(line("/a~1b~0c"), Some((4, 10)));
    assert_eq!(line("/use/low"), Some((2, 8)), "where it is defined");
    assert_eq!(
        line("/document/base/low"),
        Some((2, 8)),
        "inside a plan request"
    );
    assert_eq!(
        line("/use/high/er"),
        Some((3, 1)).or(line("/use")),
        "nearest surroundings"
    );
    assert_eq!(line("/artifact"), None);
}
