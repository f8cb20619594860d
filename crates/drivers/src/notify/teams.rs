//! A card in Microsoft Teams, through a workflow that begins when a webhook is called
//! (learn.microsoft.com/microsoftteams/platform/webhooks-and-connectors/how-to/connectors-using): an Adaptive
//! Card in the envelope of a message.
//!
//! What people wrote stands in text runs, which know no Markdown: nothing in it has a meaning.
//! Answers mean what they mean for a webhook. A workflow answers 202 before it has written anything.

use async_trait::async_trait;
use rollout::document::Reader;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Delivery, Notice, Notifier, chat::Chat, kinds, message::Message};
use crate::{Cx, DriverError};

/// A channel or a chat in Teams.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Teams(Chat);

impl Teams {
    /// Reads the settings of an app file, noting every problem.
    pub fn read(reader: &Reader<'_>) -> Option<Self> {
        Chat::read(reader).map(Self)
    }
}

#[async_trait]
impl Notifier for Teams {
    async fn deliver(&self, cx: &Cx, notice: &Notice) -> Result<Delivery, DriverError> {
        let body = body(&Message::of(notice));
        self.0.send(cx, "Microsoft Teams", notice, &body).await
    }

    fn wants(&self, kind: &str, _: bool) -> bool {
        kinds::among(&self.0.on, kind)
    }
}

/// A paragraph of plain text.
fn paragraph(run: &Value) -> Value {
    json!({ "type": "RichTextBlock", "inlines": [run] })
}

fn body(message: &Message) -> Value {
    let headline = json!({
        "type": "TextRun", "text": message.headline, "size": "Medium", "weight": "Bolder",
    });
    let sentences = message.sentences.iter();
    let sentences = sentences.map(|it| json!({ "type": "TextRun", "text": it }));
    let runs: Vec<Value> = [headline].into_iter().chain(sentences).collect();
    let mut card = json!({
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "fallbackText": message.headline,
        "body": runs.iter().map(paragraph).collect::<Vec<Value>>(),
        "msteams": { "width": "Full" },
    });
    if let (Some(link), Some(card)) = (&message.link, card.as_object_mut()) {
        let open = json!({ "type": "Action.OpenUrl", "title": "Open the rollout", "url": link });
        card.insert("actions".to_owned(), json!([open]));
    }
    json!({
        "type": "message",
        "attachments": [{
            "contentType": "application/vnd.microsoft.card.adaptive",
            "contentUrl": null,
            "content": card,
        }],
    })
}
