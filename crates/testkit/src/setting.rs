//! What a script takes for granted: accounts, subscriptions and those who are online already.

use crate::client::Client;
use crate::node::{NS_CLIENT, Node};
use crate::place::Place;
use crate::play::{Stage, round_trips};
use crate::wire::Trouble;

const NS_ROSTER: &str = "jabber:iq:roster";

impl<P: Place> Stage<'_, P> {
    /// Accounts, subscriptions and those who are online from the beginning.
    pub(crate) async fn set_the_stage(&mut self) -> Result<(), String> {
        self.place.suits(&self.script.setup)?;
        let mut made = Vec::new();
        for character in self.script.cast.iter().filter(|character| character.has_account) {
            let bare = character.address.bare();
            if made.contains(&bare) {
                continue;
            }
            let password = self.password(&character.address);
            let account = self.place.account(&character.address, &password).await;
            account.map_err(|error| format!("no account for {bare}: {error}"))?;
            made.push(bare);
        }
        for &(subscriber, contact) in &self.script.subscriptions {
            let result = self.subscribe(subscriber, contact).await;
            result.map_err(|trouble| format!("the subscription failed: {trouble}"))?;
        }
        for who in 0..self.actors.len() {
            if self.script.cast[who].is_present {
                self.come_online(who, None).await?;
            }
        }
        for (actor, character) in self.actors.iter_mut().zip(&self.script.cast) {
            if let Some(client) = &mut actor.client {
                let elsewhere = self.place.elsewhere(&character.address);
                round_trips(client, elsewhere).await.map_err(|trouble| trouble.to_string())?;
                client.clear();
            }
        }
        Ok(())
    }

    /// Lets the subscriber receive the presence of the contact (RFC 6121 §3.1), over connections that
    /// are gone again when the conversation begins.
    async fn subscribe(&mut self, subscriber: usize, contact: usize) -> Result<(), Trouble> {
        let mut user = self.visitor(subscriber).await?;
        let mut contact_client = self.visitor(contact).await?;
        let [user_jid, contact_jid] =
            [subscriber, contact].map(|who| self.script.cast[who].address.bare());

        // Requests go to available resources, pushes to those who have asked for the roster.
        contact_client.send("<presence/>").await?;
        user.send(&format!("<iq type='get' id='r'><query xmlns='{NS_ROSTER}'/></iq>")).await?;
        user.send(&format!("<presence type='subscribe' to='{contact_jid}'/>")).await?;
        let is_request = |node: &Node| {
            node.is("presence", NS_CLIENT)
                && node.attr("type") == Some("subscribe")
                && node.attr("from") == Some(&user_jid)
        };
        contact_client.find("the subscription request", is_request).await?;
        contact_client.send(&format!("<presence type='subscribed' to='{user_jid}'/>")).await?;
        let is_push = |node: &Node| {
            let item = node.child("query", NS_ROSTER).and_then(|q| q.child("item", NS_ROSTER));
            node.attr("type") == Some("set")
                && item.is_some_and(|item| {
                    item.attr("jid") == Some(&contact_jid)
                        && matches!(item.attr("subscription"), Some("to" | "both"))
                })
        };
        user.find("the roster push of the subscription", is_push).await?;
        let elsewhere = self.place.elsewhere(&self.script.cast[contact].address);
        round_trips(&mut contact_client, elsewhere).await?;
        user.log_out().await?;
        contact_client.log_out().await
    }

    /// A connection of a character that has no part in the conversation.
    async fn visitor(&self, who: usize) -> Result<Client, Trouble> {
        let mut address = self.script.cast[who].address.clone();
        "before-the-play".clone_into(&mut address.resource);
        let link = self.place.connect(&address).await?;
        let mut client = Client::connect(link, &address, self.patience).await?;
        client.log_in(&self.password(&address)).await?;
        Ok(client)
    }
}
