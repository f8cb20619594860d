//! What the demo prints: a line for what happened, one live line for what is.

use std::{
    io::{self, IsTerminal as _, Write as _},
    time::Duration,
};

use api::{RolloutView, TransitionView};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use local::load::Snapshot;

use super::{stage::Stage, story::Chapter};

/// Tells the story on standard output.
pub(super) struct Narrator {
    live: ProgressBar,
    terminal: bool,
    told: std::sync::Mutex<String>,
}

impl Narrator {
    pub(super) fn new() -> Self {
        let terminal = io::stdout().is_terminal();
        let target = if terminal {
            ProgressDrawTarget::stdout()
        } else {
            ProgressDrawTarget::hidden()
        };
        let live = ProgressBar::with_draw_target(None, target);
        if let Ok(style) = ProgressStyle::with_template("  {spinner} {msg}") {
            live.set_style(style);
        }
        Self {
            live,
            terminal,
            told: std::sync::Mutex::new(String::new()),
        }
    }

    /// A line that stays.
    pub(super) fn line(&self, text: &str) {
        self.print(&format!("  {text}"));
    }

    fn print(&self, text: &str) {
        // Whoever reads may have gone away; the demo still ends as it should.
        self.live.suspend(|| writeln!(io::stdout(), "{text}").ok());
    }

    pub(super) fn headline(&self, text: &str) {
        self.print(&self.bold(text));
    }

    pub(super) fn starting(&self, part: &str) {
        self.line(&format!("starting {part}"));
    }

    pub(super) fn chapter(&self, title: &str) {
        self.print("");
        self.print(&self.bold(title));
    }

    fn bold(&self, text: &str) -> String {
        let colour = self.terminal && std::env::var_os("NO_COLOR").is_none();
        if colour {
            format!("\u{1b}[1m{text}\u{1b}[0m")
        } else {
            text.to_owned()
        }
    }

    pub(super) fn transition(&self, transition: &TransitionView) {
        let at = transition.at.strftime("%H:%M:%S%.3f");
        self.line(&format!("{at}  {}", transition.sentence));
    }

    /// Who gets how much, which step, what it waits for, what users got.
    pub(super) fn live(&self, rollout: &RolloutView, served: &Snapshot) {
        let waiting = rollout.summary.waiting.as_deref().unwrap_or("moving on");
        let text = format!(
            "{} | {} | {waiting} | {} requests, {} errors",
            traffic(rollout),
            rollout.summary.step,
            served.total,
            served.errors(),
        );
        if self.terminal {
            self.live.set_message(text);
            self.live.tick();
            return;
        }
        // Without a terminal: a line only when the step or the split changes.
        let key = format!("{} {}", traffic(rollout), rollout.summary.step);
        if let Ok(mut told) = self.told.lock()
            && *told != key
        {
            *told = key;
            self.line(&format!("              {text}"));
        }
    }

    /// The rollout that the live line was about has ended.
    pub(super) fn done(&self) {
        self.live.set_message("");
    }

    pub(super) fn outcome(&self, chapter: &Chapter) {
        let summary = &chapter.rollout.summary;
        let why = summary
            .reason
            .as_ref()
            .map(|it| format!(": {it}"))
            .unwrap_or_default();
        let took = chapter.ended.duration_since(chapter.began).as_secs_f64();
        let phase = match summary.phase.as_str() {
            "rolledBack" => "rolled back",
            other => other,
        };
        self.line(&format!(
            "{} {phase} after {took:.1} s{why}",
            chapter.version
        ));
    }

    pub(super) fn kept(&self, stage: &Stage) {
        self.live.finish_and_clear();
        self.print("");
        self.line("everything is still running; Ctrl-C stops it. To look around:");
        self.print(&format!("    export SLUICE_SERVER={}", stage.address()));
        self.print(&format!("    export SLUICE_TOKEN={}", stage.token_text()));
        self.print("    sluice status demo/shop");
        self.print(&format!("    files: {}", stage.path().display()));
    }

    /// The end.
    pub(super) fn stopping(&self) {
        self.live.finish_and_clear();
        self.line("stopping everything");
    }

    pub(super) fn table(&self, rows: &comfy_table::Table, took: Duration) {
        self.live.finish_and_clear();
        self.print("");
        self.print(&rows.to_string());
        self.print(&format!("  whole demo: {:.0} s", took.as_secs_f64()));
    }
}

/// `r1 95 %, r2 5 %` as the data plane reports it.
fn traffic(rollout: &RolloutView) -> String {
    let shares = rollout.traffic.iter().filter_map(|it| {
        let observed = it.observed?;
        Some(format!("{} {observed:.0} %", it.revision))
    });
    let shares = shares.collect::<Vec<_>>().join(", ");
    if shares.is_empty() {
        "no traffic yet".to_owned()
    } else {
        shares
    }
}
