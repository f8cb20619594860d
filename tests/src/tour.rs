//! The README's tours, to be run as written: what they show must be what is printed, but for numbers,
//! times and what the README leaves out.

use anyhow::ensure;

const README: &str = include_str!("../../README.md");

/// A tour, by its place among the README's console blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tour {
    /// Processes behind HAProxy.
    Processes,
    /// A Deployment that runs already.
    Deployment,
}

/// One command of a tour, and the lines that the README shows under it.
#[derive(Debug, Clone)]
pub struct Shown {
    command: Vec<String>,
    lines: Vec<String>,
}

/// The commands of a tour, in their order.
pub fn tour(which: Tour) -> Vec<Shown> {
    let place = match which {
        Tour::Processes => 1,
        Tour::Deployment => 2,
    };
    let block = README.split("```console\n").nth(place).unwrap_or_default();
    let block = block.split("```").next().unwrap_or_default();
    let mut tour: Vec<Shown> = Vec::new();
    for line in block.lines() {
        match (line.strip_prefix("$ "), tour.last_mut()) {
            (Some(command), _) => tour.push(Shown {
                command: words(command),
                lines: Vec::new(),
            }),
            (None, Some(shown)) => shown.lines.push(line.to_owned()),
            (None, None) => {}
        }
    }
    tour
}

impl Shown {
    /// The program.
    pub fn program(&self) -> &str {
        self.command.first().map_or("", String::as_str)
    }

    /// What follows it.
    ///
    /// # Errors
    /// When it is another program than `expected`.
    pub fn arguments(&self, expected: &str) -> anyhow::Result<&[String]> {
        let program = self.program();
        ensure!(program == expected, "the tour runs {program:?}");
        Ok(self.command.get(1..).unwrap_or_default())
    }

    /// Whether every line shown is among those that were printed.
    ///
    /// # Errors
    /// With the first one that is not.
    pub fn check(&self, output: &str) -> anyhow::Result<()> {
        let printed: Vec<String> = output.lines().map(shape).collect();
        for line in &self.lines {
            ensure!(
                printed.contains(&shape(line)),
                "`{}` should print\n  {line}\nand printed\n{output}",
                self.command.join(" "),
            );
        }
        Ok(())
    }
}

/// Words as a shell splits them; the tour quotes with `"` only.
fn words(command: &str) -> Vec<String> {
    let parts = command.split('"').enumerate();
    let words = parts.flat_map(|(index, part)| match index % 2 {
        0 => part.split_whitespace().map(str::to_owned).collect(),
        _ => vec![part.to_owned()],
    });
    words.collect()
}

/// A line without what differs between two runs: numbers are `#`, columns are one space wide.
fn shape(line: &str) -> String {
    let mut shape = String::new();
    for word in line.split_whitespace() {
        let mut last = ' ';
        for c in word.chars() {
            let c = if c.is_ascii_digit() { '#' } else { c };
            if c != '#' || last != '#' {
                shape.push(c);
            }
            last = c;
        }
        shape.push(' ');
    }
    shape.replace("#.#s", "#s").replace(" -#s", " #s")
}
