//! A message in Slack, through an incoming webhook (docs.slack.dev/messaging/sending-messages-using-incoming-webhooks).
//!
//! What people wrote stands in mrkdwn with `&`, `<` and `>` escaped, which is all that can call
//! somebody or make a link there, and verbatim: nothing else in it is turned into one.
//! Answers mean what they mean for a webhook; Slack has no way to recognise a repetition, so one
//! that arrives twice is shown twice.

use async_trait::async_trait;
use rollout::document::Reader;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Delivery, Notice, Notifier, chat::Chat, kinds, message::Message};
use crate::{Cx, DriverError, exchange::shortened};

/// Characters of a header, by Slack's rules.
const HEADER_CHARS: usize = 150;
/// Characters of a section's text, by Slack's rules.
const SECTION_CHARS: usize = 3000;

/// A channel in Slack.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slack(Chat);

impl Slack {
    /// Reads the settings of an app file, noting every problem.
    pub fn read(reader: &Reader<'_>) -> Option<Self> {
        Chat::read(reader).map(Self)
    }
}

#[async_trait]
impl Notifier for Slack {
    async fn deliver(&self, cx: &Cx, notice: &Notice) -> Result<Delivery, DriverError> {
        let body = body(&Message::of(notice));
        self.0.send(cx, "Slack", notice, &body).await
    }

    fn wants(&self, kind: &str, _: bool) -> bool {
        kinds::among(&self.0.on, kind)
    }
}

/// The three characters that mean something in Slack's texts.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

/// Sentences as one text that is not too long: whole ones are kept, an escape is never cut.
fn section(sentences: &[String]) -> String {
    let mut text = String::new();
    for sentence in sentences {
        // Each character takes at most five when it is escaped.
        let line = [sentence.clone(), shortened(sentence, 250)]
            .map(|it| escaped(&it))
            .into_iter()
            .find(|it| text.chars().count() + it.chars().count() < SECTION_CHARS);
        let Some(line) = line else { break };
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(&line);
    }
    text
}

fn body(message: &Message) -> Value {
    let header = shortened(&message.headline, HEADER_CHARS);
    let mut blocks = vec![json!({
        "type": "header",
        "text": { "type": "plain_text", "text": header, "emoji": false },
    })];
    let said = section(&message.sentences);
    if !said.is_empty() {
        blocks.push(json!({
            "type": "section",
            "text": { "type": "mrkdwn", "text": said, "verbatim": true },
        }));
    }
    if let Some(link) = &message.link {
        let link = format!("<{}|Open the rollout>", escaped(link));
        blocks.push(json!({
            "type": "context",
            "elements": [{ "type": "mrkdwn", "text": link, "verbatim": true }],
        }));
    }
    // What notifications and screen readers show instead of the blocks.
    let first = message.sentences.first().map(|it| escaped(it));
    let text = match first {
        Some(first) => format!("{} – {first}", escaped(&message.headline)),
        None => escaped(&message.headline),
    };
    json!({ "text": text, "blocks": blocks })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_people_wrote_calls_anybody_or_is_too_long() {
        let message = Message {
            headline: format!("shop/{} r2: paused", "a".repeat(200)),
            sentences: vec![
                "<!channel> & <@U1>".to_owned(),
                "<".repeat(999),
                "<".repeat(999),
            ],
            link: Some("https://sluice.example/rollouts/1".to_owned()),
            rollout: None,
        };
        let body = body(&message);
        let header = body["blocks"][0]["text"]["text"].as_str().unwrap();
        assert_eq!(header.chars().count(), HEADER_CHARS);
        let said = body["blocks"][1]["text"]["text"].as_str().unwrap();
        assert!(
            said.starts_with("&lt;!channel&gt; &amp; &lt;@U1&gt;\n"),
            "{said}"
        );
        assert!(said.chars().count() <= SECTION_CHARS, "{}", said.len());
        assert!(!said.contains('<') && !body["text"].as_str().unwrap().contains('<'));
        assert_eq!(
            body["blocks"][2]["elements"][0]["text"],
            "<https://sluice.example/rollouts/1|Open the rollout>"
        );
    }
}
