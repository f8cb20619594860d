//! The shop: what it answers while it starts, works, fails, drains and dies.

use std::time::Duration;

use local::part::{Part, Spec};
use local::shop::{Options, VERSION_HEADER, serve, serve_until};
use local::wait;

use crate::{SOON, Shop, client};

async fn status(shop: &Shop, path: &str) -> u16 {
    client()
        .get(shop.url(path))
        .send()
        .await
        .unwrap()
        .status()
        .as_u16()
}

#[tokio::test]
async fn every_fifth_request_fails_and_is_counted() {
    let shop = Shop::version("v3", 0.2).await;
    let client = client();
    let mut statuses = Vec::new();
    for _ in 0..10 {
        let answer = client.get(shop.url("/")).send().await.unwrap();
        assert_eq!(answer.headers()[VERSION_HEADER], "v3");
        statuses.push(answer.status().as_u16());
    }
    assert_eq!(statuses, [200, 200, 200, 200, 500, 200, 200, 200, 200, 500]);
    let metrics = client
        .get(shop.url("/metrics"))
        .send()
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    for line in [
        "http_requests_total{app=\"shop\",version=\"v3\",code=\"200\"} 8",
        "http_requests_total{app=\"shop\",version=\"v3\",code=\"500\"} 2",
        "http_request_duration_seconds_count{app=\"shop\",version=\"v3\"} 10",
    ] {
        assert!(
            metrics.lines().any(|seen| seen == line),
            "{line} not in:\n{metrics}"
        );
    }
}

#[tokio::test]
async fn probes_follow_its_life() {
    let delayed = Options {
        startup_delay: Duration::from_millis(300),
        ..Options::default()
    };
    let mut shop = Shop::start(Options {
        grace: SOON,
        ..delayed
    })
    .await;
    assert_eq!(
        (
            status(&shop, "/startup").await,
            status(&shop, "/ready").await
        ),
        (503, 503)
    );
    wait::until(SOON, "it to be ready", || async {
        match status(&shop, "/ready").await {
            200 => Ok(()),
            other => Err(other),
        }
    })
    .await
    .unwrap();
    assert_eq!(
        (
            status(&shop, "/startup").await,
            status(&shop, "/health").await
        ),
        (200, 200)
    );

    shop.ask_to_stop();
    wait::until(SOON, "it to drain", || async {
        match status(&shop, "/ready").await {
            503 => Ok(()),
            other => Err(other),
        }
    })
    .await
    .unwrap();
    let answer = client().get(shop.url("/")).send().await.unwrap();
    assert_eq!(
        (
            answer.status().as_u16(),
            answer.headers()["connection"].to_str().unwrap()
        ),
        (200, "close")
    );
    assert_eq!(status(&shop, "/health").await, 503);

    let never = Shop::start(Options {
        never_ready: true,
        ..Options::default()
    })
    .await;
    assert_eq!(
        (
            status(&never, "/startup").await,
            status(&never, "/ready").await
        ),
        (200, 503)
    );
}

#[tokio::test]
async fn open_requests_are_finished_after_the_grace() {
    let slow = Options {
        latency: Duration::from_millis(300),
        grace: Duration::ZERO,
        ..Options::default()
    };
    let mut shop = Shop::start(slow).await;
    let url = shop.url("/");
    let (sent, seen) = tokio::join!(
        async { client().get(url).send().await.unwrap().status().as_u16() },
        async {
            // Long enough for the request to be in, far shorter than it takes.
            tokio::time::sleep(Duration::from_millis(100)).await;
            shop.ask_to_stop();
            tokio::time::timeout(SOON, &mut shop.serving)
                .await
                .unwrap()
                .unwrap()
        }
    );
    assert_eq!(sent, 200);
    seen.unwrap();
}

/// Tells the ignored test below which port to serve on.
const PORT: &str = "LOCAL_TEST_SHOP_PORT";

/// Not a test by itself: the process that the next one terminates.
#[tokio::test]
#[ignore = "run by `sigterm_drains_and_ends_well`"]
async fn serves_as_a_process() {
    let Ok(port) = std::env::var(PORT) else {
        return;
    };
    let grace = Duration::from_millis(300);
    serve(Options {
        port: port.parse().unwrap(),
        grace,
        ..Options::default()
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn sigterm_drains_and_ends_well() {
    let dir = tempfile::tempdir().unwrap();
    let port = local::ports::free_port().unwrap();
    let spec = Spec::new(
        "shop",
        std::env::current_exe().unwrap(),
        dir.path().join("log"),
    )
    .arguments(["--ignored", "--exact", "sample::serves_as_a_process"])
    .environment(PORT, port.to_string());
    let mut part = Part::start(spec).await.unwrap();
    let url = format!("http://127.0.0.1:{port}");
    let client = client();
    let status = async |path: &str| match client.get(format!("{url}{path}")).send().await {
        Ok(answer) => Ok(answer.status().as_u16()),
        Err(error) => Err(error.to_string()),
    };
    wait::until(SOON, "the shop to answer", || status("/"))
        .await
        .unwrap();
    let (ended, ()) = tokio::join!(part.stop(SOON), async {
        let drains = async || match status("/ready").await {
            Ok(503) => Ok(()),
            other => Err(format!("{other:?}")),
        };
        wait::until(SOON, "it to drain", drains).await.unwrap();
        assert_eq!(status("/").await, Ok(200));
    });
    assert_eq!(
        ended.unwrap().unwrap().code(),
        Some(0),
        "{}",
        part.log_tail()
    );
}

#[tokio::test]
async fn it_fails_and_dies_when_told_to() {
    let failing = Options {
        fail_after: Some(Duration::ZERO),
        ..Options::default()
    };
    let shop = Shop::start(failing).await;
    assert_eq!(
        (status(&shop, "/").await, status(&shop, "/health").await),
        (500, 200)
    );

    let mut dying = Shop::start(Options {
        die_after: Some(Duration::from_millis(50)),
        ..Options::default()
    })
    .await;
    let end = tokio::time::timeout(SOON, &mut dying.serving)
        .await
        .unwrap()
        .unwrap();
    assert!(end.unwrap_err().to_string().contains("died"));
    for (options, text) in [
        (
            Options {
                die_after: Some(Duration::ZERO),
                ..Options::default()
            },
            "die at once",
        ),
        (
            Options {
                error_ratio: 1.5,
                ..Options::default()
            },
            "0 to 1",
        ),
        (
            Options {
                version: "a\nb".to_owned(),
                ..Options::default()
            },
            "header",
        ),
        (
            Options {
                port: shop.port,
                ..Options::default()
            },
            "listen on",
        ),
    ] {
        let error = serve_until(options, std::future::pending())
            .await
            .unwrap_err();
        assert!(error.to_string().contains(text), "{error}");
    }
}
