//! The figures as a page of Markdown.

use super::{
    grid::{CHANGES, Row},
    promises::{Figures, Scale, mean_rollbacks},
    race::Tally,
    rules::Kind,
    stress::Under,
    traffic::{Cell, Change},
};

/// Bounds of the columns by the candidate's requests a minute.
const PER_MINUTE: [(f64, f64, &str); 5] = [
    (0.0, 3.0, "0-3"),
    (3.0, 30.0, "3-30"),
    (30.0, 300.0, "30-300"),
    (300.0, 3000.0, "300-3000"),
    (3000.0, f64::INFINITY, "> 3000"),
];

/// The page.
pub fn page(figures: &Figures, scale: &Scale, seconds: f64) -> String {
    let mut page = String::from(INTRODUCTION);
    promises(&mut page, figures);
    healthy(&mut page, figures);
    worse(&mut page, figures);
    selected(&mut page, figures);
    verdicts(&mut page, figures);
    stressed(&mut page, figures);
    slower(&mut page, figures);
    page.push_str(&format!("\nRollouts simulated: {} in each of 240 scenarios under every rule (Kayenta a third of them), {} in each of \
         48 for the first promise, {} at the edges, {} under stress and {} for latency; {seconds:.0} s on \
         this machine.\n",
        scale.grid, scale.null, scale.edge, scale.stress, scale.latency));
    page
}

const INTRODUCTION: &str = "\
# How often the gates are right

Simulated rollouts of an hour, judged every 15 s by the statistics of `crates/analysis` and by others' rules.
This page is written by the benchmark:

```sh
make bench-analysis    # all cores, some minutes; fails when a promise below is not kept
```

Requests are Poisson, errors are independent unless said otherwise, and the share is fixed.
Scenarios: 1, 10, 100 and 1000 requests/s; stable's error rate 0.01, 0.1 and 1 %; share 1, 5, 25 and 50 %; a candidate that is
equal, or has 1.2, 2 or 10 times the errors, or fails every request: 240 in all.
A rollback of an equal candidate is a false one.

| rule | what it is |
|---|---|
| Sluice, sequential only | `strict` without history and without the exact test at the end |
| Sluice `strict` | no margin, no floor, α = 1 % |
| Sluice `default` | margin 1.1, floor 0.05 %, α = 5 %; it does not react to less on purpose |
| Argo Rollouts | the documented example: every 5 min, success ≥ 95 %, failureLimit 3, `irate` (argo-rollouts 9f8d111, docs/features/analysis.md) |
| Flagger | the documented example: every minute, success ≥ 99 %, threshold 10, ten steps (flagger 15bd6ad, docs/gitbook/usage/how-it-works.md) |
| Kayenta | NetflixACAJudge-v1.0 on each minute's error percentage, judged at 20, 40 and 60 min (kayenta a69573be) |
| z-test at each look | a two-proportion z-test at 1 %, as a script would do it |
| Lindon-Malek | the sequential test of arXiv 2011.03567 at 1 %, one-sided |

The others' rules are written anew from their documentation and sources, read favourably; the real programs were not run.
";

fn promises(page: &mut String, figures: &Figures) {
    page.push_str("\n## Promises\n\n| promise | bound | measured | kept |\n|---|---|---|---|\n");
    for it in &figures.targets {
        let kept = if it.met { "yes" } else { "**no**" };
        page.push_str(&format!(
            "| {} | {} | {} | {kept} |\n",
            it.what, it.bound, it.measured
        ));
    }
}

fn of_change(figures: &Figures, change: Change) -> Vec<&Row> {
    let rows = figures.grid.iter();
    rows.filter(|it| it.cell.change == change).collect()
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let values: Vec<f64> = values.collect();
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

fn column<'a>(rows: &[&'a Row], (least, most, _): (f64, f64, &str)) -> Vec<&'a Row> {
    let within = |it: &&&Row| {
        let requests = it.cell.candidate_per_minute();
        // The first column includes its upper end: three requests a minute are as few as two.
        (least..most).contains(&(requests - 1e-9))
    };
    rows.iter().filter(within).copied().collect()
}

fn healthy(page: &mut String, figures: &Figures) {
    page.push_str(
        "\n## Healthy candidates that are rolled back\n\nBy the candidate's requests a minute, in \
         percent of rollouts.\n\n| rule | mean | worst |",
    );
    for (_, _, name) in PER_MINUTE {
        page.push_str(&format!(" {name} |"));
    }
    page.push_str("\n|---|---|---|---|---|---|---|---|\n");
    let rows = of_change(figures, Change::Times(1.0));
    for kind in Kind::ALL {
        let rates = rows.iter().map(|it| it.of(kind).rollback_rate());
        let worst = rates.clone().fold(0.0, f64::max) * 100.0;
        let all = mean(rates).unwrap_or(0.0) * 100.0;
        page.push_str(&format!("| {} | {all:.2} | {worst:.1} |", kind.name()));
        for bounds in PER_MINUTE {
            let rows = column(&rows, bounds);
            let rate = mean(rows.iter().map(|it| it.of(kind).rollback_rate()));
            page.push_str(&format!(" {:.1} |", rate.unwrap_or(0.0) * 100.0));
        }
        page.push('\n');
    }
}

fn worse(page: &mut String, figures: &Figures) {
    page.push_str(
        "\n## Regressions that are rolled back\n\nMean of 48 scenarios: percent rolled back within the \
         hour / errors that the candidate served until then.\nArgo's and Flagger's include what they \
         would have rolled back anyway (the table above).\n\n| rule |",
    );
    for change in CHANGES.iter().skip(1) {
        page.push_str(&format!(" {} |", change.name()));
    }
    page.push_str("\n|---|---|---|---|---|\n");
    for kind in Kind::ALL {
        page.push_str(&format!("| {} |", kind.name()));
        for change in CHANGES.iter().skip(1) {
            let rate = mean_rollbacks(&figures.grid, kind, *change) * 100.0;
            let rows = of_change(figures, *change);
            let errors = mean(rows.iter().map(|it| it.of(kind).mean_errors()));
            page.push_str(&format!(" {rate:.0} % / {:.0} |", errors.unwrap_or(0.0)));
        }
        page.push('\n');
    }
}

fn brief(tally: &Tally) -> String {
    let time = tally
        .median_minutes()
        .map_or("–".to_owned(), |it| format!("{it:.2}"));
    let rate = tally.rollback_rate() * 100.0;
    format!("{rate:.1} % / {time} / {:.0}", tally.mean_errors())
}

fn selected(page: &mut String, figures: &Figures) {
    const CELLS: [(f64, f64, f64); 7] = [
        (1.0, 0.01, 0.25),
        (10.0, 0.001, 0.05),
        (10.0, 0.01, 0.25),
        (100.0, 0.0001, 0.25),
        (100.0, 0.001, 0.05),
        (100.0, 0.001, 0.25),
        (1000.0, 0.001, 0.01),
    ];
    page.push_str(
        "\n## Some scenarios\n\nPercent rolled back / median minutes, \"–\" when more than half never \
         are / errors that the candidate served.\n\n| requests/s, errors, share | candidate |",
    );
    for kind in Kind::ALL {
        page.push_str(&format!(" {} |", kind.name()));
    }
    page.push_str("\n|---|---|---|---|---|---|---|---|---|---|\n");
    for (rps, p0, share) in CELLS {
        for change in CHANGES {
            let cell = Cell {
                rps,
                p0,
                share,
                change,
            };
            let Some(row) = figures.grid.iter().find(|it| it.cell == cell) else {
                continue;
            };
            let (p0, share) = (p0 * 100.0, share * 100.0);
            page.push_str(&format!("| {rps}, {p0} %, {share} % | {} |", change.name()));
            for kind in Kind::ALL {
                page.push_str(&format!(" {} |", brief(row.of(kind))));
            }
            page.push('\n');
        }
    }
}

fn verdicts(page: &mut String, figures: &Figures) {
    page.push_str(
        "\n## Verdicts of `default` after an hour\n\nPercent rolled back / passed / not enough data, by \
         the candidate's requests a minute.\nPasses of a candidate with twice the errors are those \
         whose rate stays below the floor.\n\n| candidate |",
    );
    for (_, _, name) in PER_MINUTE {
        page.push_str(&format!(" {name} |"));
    }
    page.push_str("\n|---|---|---|---|---|---|\n");
    for change in CHANGES {
        page.push_str(&format!("| {} |", change.name()));
        let rows = of_change(figures, change);
        for bounds in PER_MINUTE {
            let rows = column(&rows, bounds);
            let of = |rate: fn(&Tally) -> f64| {
                mean(rows.iter().map(|it| rate(it.of(Kind::Default)))).unwrap_or(0.0) * 100.0
            };
            let (back, passed) = (of(Tally::rollback_rate), of(Tally::promotion_rate));
            let rest = 100.0 - back - passed;
            page.push_str(&format!(" {back:.0} / {passed:.0} / {rest:.0} |"));
        }
        page.push('\n');
    }
    page.push_str(
        "\nMedian minutes until an equal candidate passes `default`:\n\n| requests/s, errors |",
    );
    page.push_str(" share 1 % | 5 % | 25 % | 50 % |\n|---|---|---|---|---|\n");
    for rps in super::grid::RPS {
        for p0 in super::grid::P0 {
            page.push_str(&format!("| {rps}, {} % |", p0 * 100.0));
            for share in super::grid::SHARES {
                let rows = of_change(figures, Change::Times(1.0));
                let at =
                    |it: &&&Row| it.cell.rps == rps && it.cell.p0 == p0 && it.cell.share == share;
                let row = rows.iter().find(at);
                let time = row.and_then(|it| it.of(Kind::Default).median_pass_minutes());
                let time = time.map_or("> 60".to_owned(), |it| format!("{it:.1}"));
                page.push_str(&format!(" {time} |"));
            }
            page.push('\n');
        }
    }
}

fn stressed(page: &mut String, figures: &Figures) {
    page.push_str(
        "\n## Under stress\n\n100 requests/s, 1 % errors, share 25 %. Percent of equal candidates rolled \
         back; percent of those with twice the errors, and their median minutes.\nφ comes from three \
         hours of stable against itself.\n\n| traffic |",
    );
    for under in Under::ALL {
        page.push_str(&format!(" {} |", under.name()));
    }
    page.push_str("\n|---|---|---|---|---|---|---|---|---|---|\n");
    for row in &figures.stress {
        page.push_str(&format!("| {} |", row.stress.name()));
        for (_, [equal, double]) in &row.tallies {
            let time = double.median_minutes();
            let time = time.map_or("–".to_owned(), |it| format!("{it:.1}"));
            let (equal, double) = (equal.rollback_rate(), double.rollback_rate());
            page.push_str(&format!(
                " {:.1}; {:.0}, {time} |",
                equal * 100.0,
                double * 100.0
            ));
        }
        page.push('\n');
    }
}

fn slower(page: &mut String, figures: &Figures) {
    page.push_str(
        "\n## Latency\n\nLognormal, median 80 ms, 99th percentile 0.41 s, in the default buckets of the \
         client libraries; the latency gate's strict profile. Percent rolled back, median \
         minutes.\n\n| candidate |",
    );
    let mut traffic: Vec<(f64, f64)> = Vec::new();
    let mut changes = Vec::new();
    for case in figures.latency.iter().map(|it| it.case) {
        if !traffic.contains(&(case.rps, case.share)) {
            traffic.push((case.rps, case.share));
        }
        if !changes.contains(&case.slower) {
            changes.push(case.slower);
        }
    }
    for (rps, share) in &traffic {
        page.push_str(&format!(" {rps} requests/s, {} % |", share * 100.0));
    }
    page.push_str("\n|---|---|---|---|---|\n");
    for change in changes {
        page.push_str(&format!("| {} |", change.name()));
        for (rps, share) in &traffic {
            let at = figures
                .latency
                .iter()
                .find(|it| (it.case.rps, it.case.share, it.case.slower) == (*rps, *share, change));
            let Some(it) = at else { continue };
            let time = it
                .median_minutes()
                .map_or("–".to_owned(), |it| format!("{it:.2}"));
            page.push_str(&format!(" {:.1} %, {time} |", it.rate() * 100.0));
        }
        page.push('\n');
    }
}
