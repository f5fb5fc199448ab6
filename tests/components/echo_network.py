"""The network behind the slidge gateway: one contact, who repeats what is said and lets the user have
said it from another device, too."""

from slidge import BaseGateway, BaseSession, FormField, LegacyContact


class Gateway(BaseGateway):
    COMPONENT_NAME = "Echo"
    COMPONENT_TYPE = "echo"
    REGISTRATION_FIELDS = [FormField(var="username", label="Name", required=True)]

    async def validate(self, user_jid, registration_form):
        pass


class Contact(LegacyContact):
    async def update_info(self, data=None):
        self.name = "Narcissus"
        self.is_friend = True
        self.online()

    async def on_message(self, message):
        text = message.body if hasattr(message, "body") else str(message)
        self.send_text(f"From another device: {text}", carbon=True)
        self.send_text(f"Echo: {text}")
        if text == "Who is in my roster?":
            iq = await self.xmpp["xep_0356"].get_roster(self.user_jid.bare)
            names = sorted(str(jid) for jid in iq["roster"]["items"])
            self.send_text(" ".join(names))


class Session(BaseSession):
    async def login(self):
        await (await self.contacts.by_legacy_id("narcissus")).add_to_roster()
        return "Listening"
