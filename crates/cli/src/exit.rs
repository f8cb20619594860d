//! What the exit code says, so that a pipeline need not read the text.

use std::{io, process::ExitCode};

use api::ClientError;

use crate::{app_file::FileProblems, output};

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Done; of a rollout: the candidate is stable.
    Succeeded,
    /// Something went wrong that is not said by another code.
    Failed,
    /// The command line or a file given to it is wrong.
    Usage,
    /// The rollout was taken back, or cancelled before it began.
    RolledBack,
    /// The rollout goes on, but the time to wait for it is over.
    TimedOut,
    /// The rollout waits for a person.
    NeedsPerson,
    /// Ctrl-C, as shells say it: 128 + SIGINT.
    Interrupted,
}

impl Exit {
    /// The code.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Succeeded => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::RolledBack => 3,
            Self::TimedOut => 4,
            Self::NeedsPerson => 5,
            Self::Interrupted => 130,
        }
    }

    /// How a rollout in `phase` ended; `None` while it goes on.
    pub(crate) fn of_phase(phase: &str) -> Option<Self> {
        match phase {
            "succeeded" => Some(Self::Succeeded),
            "rolledBack" | "cancelled" => Some(Self::RolledBack),
            _ => None,
        }
    }

    /// The code for an error: wrong input is told apart from everything else.
    pub(crate) fn of_error(error: &anyhow::Error) -> Self {
        if is_broken_pipe(error) {
            return Self::Succeeded;
        }
        let input = error.is::<Usage>() || error.is::<FileProblems>();
        let refused = error
            .downcast_ref::<ClientError>()
            .and_then(ClientError::problem);
        match refused {
            Some(problem) if problem.status == 422 => Self::Usage,
            Some(_) => Self::Failed,
            None if input => Self::Usage,
            None => Self::Failed,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// The command line, the environment or a file is wrong: exit code 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Usage(pub(crate) String);

impl Usage {
    /// As an error of a command.
    pub(crate) fn error(text: impl Into<String>) -> anyhow::Error {
        Self(text.into()).into()
    }
}

/// Whether the reader of our output went away (`sluice history APP | head`): not our failure.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let io = error.downcast_ref::<io::Error>();
    io.is_some_and(|it| it.kind() == io::ErrorKind::BrokenPipe)
}

/// Says on stderr what went wrong and, where the server or the kind of failure tells, the way out.
pub(crate) fn report(error: &anyhow::Error) {
    if is_broken_pipe(error) {
        return;
    }
    let mut text = format!("{error:#}");
    if let Some(client) = error.downcast_ref::<ClientError>() {
        text.push_str(&advice(client));
    }
    // `FileProblems` brings a layout of its own, so lines stay; other control characters do not.
    let lines: Vec<String> = text.lines().map(output::clean).collect();
    output::message(&format!("{} {}", output::error_word(), lines.join("\n")));
}

/// The fields that are wrong and what may help.
fn advice(error: &ClientError) -> String {
    match error {
        ClientError::Problem(problem) => {
            let mut text = String::new();
            let said = problem.to_string();
            for field in problem.errors.iter().filter(|it| it.detail != said) {
                text.push_str(&format!("\n  {}: {}", field.pointer, field.detail));
            }
            if problem.status == 401 {
                text.push_str(
                    "\n  give a token in SLUICE_TOKEN or name its file in SLUICE_TOKEN_FILE",
                );
            }
            if problem.status >= 500
                && let Some(request) = &problem.instance
            {
                text.push_str(&format!("\n  request {request}"));
            }
            text
        }
        ClientError::Unreachable { .. } => {
            "\n  is it running? start one with `sluice up`, or name another with --server"
                .to_owned()
        }
        ClientError::Malformed { .. } => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use api::ProblemBody;

    use super::*;

    fn refusal(status: u16) -> anyhow::Error {
        let body = ProblemBody {
            kind: "urn:sluice:problem:test".to_owned(),
            title: "test".to_owned(),
            status,
            detail: String::new(),
            instance: None,
            errors: Vec::new(),
        };
        ClientError::Problem(Box::new(body)).into()
    }

    #[test]
    fn codes_are_the_documented_ones() {
        let codes = [
            (Exit::Succeeded, 0),
            (Exit::Failed, 1),
            (Exit::Usage, 2),
            (Exit::RolledBack, 3),
            (Exit::TimedOut, 4),
            (Exit::NeedsPerson, 5),
            (Exit::Interrupted, 130),
        ];
        for (exit, code) in codes {
            assert_eq!(exit.code(), code, "{exit:?}");
        }
    }

    #[test]
    fn every_phase_that_ends_a_rollout_has_a_code() {
        let ended = rollout::Phase::ALL.map(|it| {
            let word = serde_json::to_value(it).unwrap();
            Exit::of_phase(word.as_str().unwrap())
        });
        let expected = [
            None,
            None,
            None,
            None,
            None,
            Some(Exit::Succeeded),
            Some(Exit::RolledBack),
            Some(Exit::RolledBack),
        ];
        assert_eq!(ended, expected);
    }

    #[test]
    fn wrong_input_is_told_apart_from_failures() {
        assert_eq!(Exit::of_error(&Usage::error("no")), Exit::Usage);
        assert_eq!(Exit::of_error(&refusal(422)), Exit::Usage);
        assert_eq!(Exit::of_error(&refusal(409)), Exit::Failed);
        assert_eq!(Exit::of_error(&anyhow::anyhow!("no")), Exit::Failed);
        let context = Usage::error("no").context("read the environment");
        assert_eq!(
            Exit::of_error(&context),
            Exit::Usage,
            "context keeps the kind"
        );
        let pipe = io::Error::from(io::ErrorKind::BrokenPipe);
        assert_eq!(Exit::of_error(&pipe.into()), Exit::Succeeded);
    }
}
