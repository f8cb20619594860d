//! The audit log of the real server: nothing is done without a line in it, and forgeries are found.

use std::time::Duration;

use anyhow::{Context, ensure};
use api::{AuditOutcome, AuditView, ClientError, CreateToken, RoleWord};
use e2e::binary::{self, Ran};
use e2e::database::Database;
use e2e::server::Server;
use e2e::world::first_token;
use futures::stream::{self, StreamExt as _};
use local::wait;

/// Tokens that are asked for in a round, and how many answers are waited for before the server dies.
const ASKED: usize = 40;
const BEFORE: usize = 5;
const SOON: Duration = Duration::from_secs(30);

struct Audited {
    server: Server,
    database: Database,
    token: String,
    _directory: tempfile::TempDir,
}

impl Audited {
    async fn start() -> anyhow::Result<Self> {
        let directory = tempfile::tempdir()?;
        let database = Database::shared().await?;
        let server = Server::start(directory.path(), database.url()).await?;
        let token = first_token(database.url()).await?;
        Ok(Self {
            server,
            database,
            token,
            _directory: directory,
        })
    }

    async fn cli(&self, arguments: &[&str]) -> anyhow::Result<Ran> {
        let url = self.server.url();
        let environment = [("SLUICE_SERVER", &*url), ("SLUICE_TOKEN", &*self.token)];
        binary::run(arguments, &environment, "").await
    }

    fn client(&self) -> anyhow::Result<api::Client> {
        let token = self.token.clone().into();
        Ok(api::Client::new(&self.server.url(), Some(token))?)
    }

    async fn log(&self) -> anyhow::Result<Vec<AuditView>> {
        let ran = self.cli(&["audit", "export"]).await?.expect(0)?;
        let lines = ran.stdout.lines().map(serde_json::from_str);
        Ok(lines.collect::<Result<_, _>>()?)
    }

    /// The verdict, once everything is sealed.
    async fn verified(&self) -> anyhow::Result<String> {
        let verdict = wait::until(SOON, "seals", || async {
            let ran = self
                .cli(&["audit", "verify"])
                .await
                .map_err(|it| it.to_string())?;
            match ran.stdout.contains(", 0 too young") {
                true => Ok(ran.stdout),
                false => Err(ran.stdout + &ran.stderr),
            }
        })
        .await?;
        Ok(verdict)
    }
}

fn wanted(name: &str) -> CreateToken {
    CreateToken {
        name: name.to_owned(),
        role: RoleWord::Deployer,
        project: Some("shop".to_owned()),
        person: false,
        groups: Vec::new(),
        expires_in: None,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_done_without_a_line_however_the_server_dies() -> anyhow::Result<()> {
    let mut audited = Audited::start().await?;
    for round in 0..3 {
        let client = audited.client()?;
        let asked = stream::iter(0..ASKED).map(|number| {
            let (client, name) = (&client, format!("t{round}-{number}"));
            async move { client.create_token(&wanted(&name)).await }
        });
        let mut answers = asked.buffer_unordered(8);
        let mut made = 0;
        while made < BEFORE {
            match answers.next().await.context("no answer")? {
                Ok(_) => made += 1,
                // A busy database: nothing is done then, for want of a line.
                Err(ClientError::Problem(it)) if it.status == 503 => {}
                Err(error) => return Err(error.into()),
            }
        }
        audited.server.kill9()?;
        let rest: Vec<_> = answers.collect().await;
        let unanswered = rest.iter().any(Result::is_err);
        ensure!(unanswered, "it died after everything was done");
        audited.server.start_again(&[]).await?;
    }
    let made = "SELECT count(*) FROM api_token WHERE name LIKE 't_-%'";
    let made: usize = audited.database.sql(made).await?.trim().parse()?;
    let lines = audited.log().await?;
    let of = |outcome| {
        let lines = lines.iter().filter(|it| it.action == "token.create");
        lines.filter(|it| it.outcome == outcome).count()
    };
    // What failed on our side may have been done, too.
    let (done, failed) = (of(AuditOutcome::Done), of(AuditOutcome::Failed));
    let unknown = of(AuditOutcome::Unknown) + failed;
    ensure!(
        done <= made && made <= done + unknown,
        "{made} tokens were made, the log tells of {done} and of {unknown} that nobody knows of"
    );
    ensure!(of(AuditOutcome::Refused) == 0, "{lines:#?}");
    let line = lines.iter().find(|it| it.outcome == AuditOutcome::Done);
    let line = line.context("nothing was done")?;
    ensure!(
        line.who.as_deref() == Some("token:admin") && line.from.as_deref() == Some("127.0.0.1"),
        "{line:?}"
    );
    let verdict = audited.verified().await?;
    ensure!(verdict.starts_with("intact: "), "{verdict}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flipped_byte_fails_the_verification() -> anyhow::Result<()> {
    let audited = Audited::start().await?;
    audited
        .cli(&["token", "create", "ci", "--role", "deployer"])
        .await?
        .expect(0)?;
    audited.cli(&["token", "revoke", "ci"]).await?.expect(0)?;
    audited.cli(&["token", "revoke", "ci"]).await?.expect(1)?;
    let listed = audited
        .cli(&["audit", "list", "--action", "token"])
        .await?
        .expect(0)?;
    ensure!(
        listed.stdout.contains("revoke a token: ci"),
        "{}",
        listed.stdout
    );
    let verdict = audited.verified().await?;
    let head = verdict.trim().rsplit(' ').next().context("no head")?;
    audited
        .cli(&["audit", "verify", "--head", head])
        .await?
        .expect(0)?;
    let wrong = audited
        .cli(&["audit", "verify", "--head", "1:ff"])
        .await?
        .expect(2)?;
    ensure!(wrong.stderr.contains("NUMBER:HASH"), "{}", wrong.stderr);
    let forged = "ALTER TABLE audit DISABLE TRIGGER ALL;
        UPDATE audit SET who = 'token:eve' WHERE number = (SELECT max(number) FROM audit)";
    audited.database.sql(forged).await?;
    let ran = audited
        .cli(&["audit", "verify", "--head", head])
        .await?
        .expect(1)?;
    ensure!(
        ran.stdout.starts_with("NOT INTACT: the lines from"),
        "{}",
        ran.stdout
    );
    Ok(())
}
