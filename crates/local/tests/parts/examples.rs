//! The files of `deploy/` are valid as they stand, by the programs' own checks.

use std::path::PathBuf;
use std::process::Command;

fn deploy(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../deploy")
        .join(path)
}

fn check(program: &str, arguments: &[&str], file: &str) {
    let output = Command::new(local::programs::find(program).unwrap())
        .args(arguments)
        .arg(deploy(file))
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr]
        .map(|bytes| String::from_utf8(bytes).unwrap())
        .concat();
    assert!(output.status.success(), "{text}");
    assert!(!text.contains("WARNING"), "{text}");
}

#[test]
fn every_example_passes_its_programs_check() {
    check("haproxy", &["-c", "-f"], "haproxy/haproxy.cfg");
    check(
        "promtool",
        &["check", "config"],
        "prometheus/prometheus.yml",
    );
    check("promtool", &["check", "rules"], "prometheus/rules.yml");
    check("promtool", &["test", "rules"], "prometheus/rules.test.yml");
    check("amtool", &["check-config"], "alertmanager/alertmanager.yml");
}
