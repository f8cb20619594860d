//! Follows a rollout to its end: a live line on a terminal, else one line for each change.
//!
//! A server that is restarted meanwhile is waited for; Ctrl-C stops the watching, never the
//! rollout.

use std::{
    io::{self, IsTerminal as _},
    time::Duration,
};

use api::{Client, ClientError, RolloutView};
use indicatif::{ProgressBar, ProgressStyle};
use tokio::time::{Instant, sleep};

use crate::{
    commands::Session,
    exit::Exit,
    output::{Format, Output, message},
    rollout_text,
};

/// One long poll in a pipeline, where only changes are told.
const POLL: Duration = Duration::from_secs(30);
/// One long poll on a terminal: how often readings and times of the live line are renewed.
const LIVE_POLL: Duration = Duration::from_secs(2);
/// How long a server may be away before watching is given up.
const AWAY_MAX: Duration = Duration::from_secs(120);
/// Between two questions when the answer came at once and brought nothing new.
const PAUSE: Duration = Duration::from_secs(1);

/// When to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Until {
    /// When it has ended.
    Ended,
    /// Then, or after this time, or (in a pipeline) when a person is needed.
    Time(Duration),
}

/// Follows `view`'s rollout, shows it in the end, and says what the exit code must be.
pub(crate) async fn to_the_end(
    session: &Session,
    view: RolloutView,
    until: Until,
) -> anyhow::Result<Exit> {
    let live = io::stderr().is_terminal();
    let mut teller = Teller::new(session.output, live);
    teller.tell(&view)?;
    let mut watch = Watch {
        client: &session.client,
        until,
        live,
        began: Instant::now(),
        view,
    };
    let exit = tokio::select! {
        exit = watch.run(&mut teller) => exit?,
        _ = tokio::signal::ctrl_c() => Exit::Interrupted,
    };
    teller.end();
    let view = watch.view;
    match exit {
        Exit::Interrupted => message(&format!(
            "not watching any more; the rollout goes on: sluice status -w {}",
            view.summary.id
        )),
        Exit::TimedOut => message(&format!(
            "the time to wait is over; the rollout goes on: sluice status -w {}",
            view.summary.id
        )),
        Exit::NeedsPerson => message(&rollout_text::needed(&view)),
        Exit::Succeeded | Exit::Failed | Exit::Usage | Exit::RolledBack => {}
    }
    // For people the last line told says it all while the rollout goes on.
    if view.summary.ended_at.is_some() || session.output.format != Format::Table {
        session.output.show(&view, rollout_text::outcome)?;
    }
    Ok(exit)
}

struct Watch<'a> {
    client: &'a Client,
    until: Until,
    live: bool,
    began: Instant,
    view: RolloutView,
}

impl Watch<'_> {
    async fn run(&mut self, teller: &mut Teller) -> anyhow::Result<Exit> {
        let mut away: Option<Instant> = None;
        loop {
            if let Some(exit) = self.verdict() {
                return Ok(exit);
            }
            let (asked, id) = (Instant::now(), self.view.summary.id);
            match self
                .client
                .wait(id, Some(self.view.version), self.poll())
                .await
            {
                Ok(answer) => {
                    away = None;
                    let news = answer.rollout.version != self.view.version;
                    self.view = answer.rollout;
                    teller.tell(&self.view)?;
                    // A rollout that needs a person is answered at once, each time.
                    if !news && asked.elapsed() < PAUSE {
                        sleep(PAUSE).await;
                    }
                }
                Err(error) if is_passing(&error) => {
                    let since = *away.get_or_insert_with(|| {
                        teller.note(&format!("{error}; asking again"));
                        Instant::now()
                    });
                    if since.elapsed() > AWAY_MAX {
                        return Err(error.into());
                    }
                    sleep(PAUSE).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// What to end with now, if anything.
    fn verdict(&self) -> Option<Exit> {
        if let Some(exit) = Exit::of_phase(&self.view.summary.phase) {
            return Some(exit);
        }
        let needed = rollout_text::needs_person(&self.view);
        match self.until {
            Until::Ended => None,
            // On a terminal there is somebody who can approve elsewhere while this waits.
            Until::Time(_) if needed && !self.live => Some(Exit::NeedsPerson),
            Until::Time(most) if self.began.elapsed() >= most => match needed {
                true => Some(Exit::NeedsPerson),
                false => Some(Exit::TimedOut),
            },
            Until::Time(_) => None,
        }
    }

    fn poll(&self) -> Duration {
        let poll = if self.live { LIVE_POLL } else { POLL };
        match self.until {
            Until::Ended => poll,
            // The server counts in whole seconds.
            Until::Time(most) => poll
                .min(most.saturating_sub(self.began.elapsed()))
                .max(Duration::from_secs(1)),
        }
    }
}

/// Whether asking again may help: the server is away, restarting or overloaded.
fn is_passing(error: &ClientError) -> bool {
    match error {
        ClientError::Unreachable { .. } => true,
        ClientError::Problem(problem) => matches!(problem.status, 429 | 500 | 502..=504),
        ClientError::Malformed { .. } => false,
    }
}

/// Tells how it goes: each change once, and on a terminal also the moment.
struct Teller {
    output: Output,
    bar: Option<ProgressBar>,
    last: String,
}

impl Teller {
    fn new(output: Output, live: bool) -> Self {
        let bar = live.then(|| {
            let bar = ProgressBar::new_spinner();
            if let Ok(style) = ProgressStyle::with_template("{spinner} {elapsed:>4}  {wide_msg}") {
                bar.set_style(style);
            }
            bar.enable_steady_tick(Duration::from_millis(120));
            bar
        });
        Self {
            output,
            bar,
            last: String::new(),
        }
    }

    fn tell(&mut self, view: &RolloutView) -> anyhow::Result<()> {
        // The end is what the outcome says.
        if view.summary.ended_at.is_some() {
            return Ok(());
        }
        let now = rollout_text::line(view);
        // On a terminal the moment is in the live line; what stays is where it went.
        let change = match self.bar {
            Some(_) => rollout_text::stage(view),
            None => now.clone(),
        };
        if change != self.last {
            match &self.bar {
                Some(bar) => bar.println(&change),
                None => self.output.progress(&change)?,
            }
            self.last = change;
        }
        if let Some(bar) = &self.bar {
            bar.set_message(now);
        }
        Ok(())
    }

    fn note(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.println(text),
            None => message(text),
        }
    }

    fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
