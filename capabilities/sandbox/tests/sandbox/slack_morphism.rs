//! The client library Harmony uses reads the stand-in's answers.

use hyper_util::client::legacy::connect::HttpConnector;
use slack_morphism::prelude::*;

use crate::world::World;

#[tokio::test]
async fn slack_morphism_understands_the_stand_in() {
    let world = World::start().await;
    let connector = SlackClientHyperConnector::with_connector(HttpConnector::new())
        .with_slack_api_url(&world.sandbox.base_urls().slack);
    let client = SlackClient::new(connector);
    let token = SlackApiToken::new("xoxb-1".into());
    let session = client.open_session(&token);
    session.auth_test().await.unwrap();
    let request = SlackApiConversationsCreateRequest::new("inc-1".to_owned());
    let channel = session.conversations_create(&request).await.unwrap().channel.id;
    let taken = session.conversations_create(&request).await.unwrap_err();
    assert!(taken.to_string().contains("name_taken"), "{taken}");
    let topic = SlackApiConversationsSetTopicRequest::new(channel.clone(), "INC-1".to_owned());
    session.conversations_set_topic(&topic).await.unwrap();
    let invite = SlackApiConversationsInviteRequest::new(
        channel.clone(),
        vec!["U0COMMANDER".into(), "U0000ONCALL".into()],
    );
    session.conversations_invite(&invite).await.unwrap();
    let content = SlackMessageContent::new().with_text("Roll back?".to_owned()).with_blocks(slack_blocks![
        some_into(SlackSectionBlock::new().with_text(md!("*Roll back?*"))),
        some_into(SlackActionsBlock::new(slack_blocks![some_into(
            SlackBlockButtonElement::new("approve".into())
                .with_text(pt!("Approve"))
                .with_value("gate-1".to_owned())
        )]))
    ]);
    let post = SlackApiChatPostMessageRequest::new(channel.clone(), content);
    let posted = session.chat_post_message(&post).await.unwrap();
    let edited = SlackMessageContent::new().with_text("Decided".to_owned());
    let update = SlackApiChatUpdateRequest::new(channel.clone(), edited, posted.ts.clone());
    session.chat_update(&update).await.unwrap();
    let history = SlackApiConversationsHistoryRequest::new()
        .with_channel(channel.clone())
        .with_include_all_metadata(true)
        .with_limit(10);
    let history = session.conversations_history(&history).await.unwrap();
    assert_eq!(history.messages[0].content.text.as_deref(), Some("Decided"));
    assert_eq!(history.messages[0].origin.ts, posted.ts);
    let list = SlackApiConversationsListRequest::new().with_exclude_archived(false);
    assert_eq!(session.conversations_list(&list).await.unwrap().channels.len(), 1);
    let info = SlackApiUsersInfoRequest::new("U0COMMANDER".into());
    let user = session.users_info(&info).await.unwrap().user;
    assert_eq!(user.name.as_deref(), Some("commander"));
    let ephemeral = SlackApiChatPostEphemeralRequest::new(
        channel.clone(),
        "U0COMMANDER".into(),
        SlackMessageContent::new().with_text("Noted".to_owned()),
    );
    session.chat_post_ephemeral(&ephemeral).await.unwrap();
    let archive = SlackApiConversationsArchiveRequest::new(channel);
    session.conversations_archive(&archive).await.unwrap();
}
