"""What the server has acknowledged, what it was only asked for, and what came."""

import threading


class Ledger:
    """Shared by the threads of the load; compared when they rest."""

    def __init__(self):
        self.lock = threading.Lock()
        self.new_accounts = set()
        self.accounts = 0
        # Roster items by owner and JID: the last name acknowledged, and the names asked for since.
        self.kept = {}
        self.asked = {}
        self.sets = 0
        # Texts by receiver: acknowledged and not yet seen.
        self.waiting = {}
        # By receiver: the id of each text that came, and the text of each id.
        self.ids = {}
        self.texts = {}
        # The last number of each sender that each receiver has got.
        self.numbers = {}
        # Texts by account: acknowledged and not yet found in its archive; all that were found there.
        self.missing = {}
        self.archived = {}
        self.sent = self.messages = self.repeats = 0
        self.faults = []

    def account_kept(self, name):
        with self.lock:
            self.new_accounts.add(name)
            self.accounts += 1

    def take_new_accounts(self):
        new, self.new_accounts = self.new_accounts, set()
        return new

    def item_asked(self, owner, jid, name):
        with self.lock:
            self.asked.setdefault((owner, jid), []).append(name)

    def item_kept(self, owner, jid, name):
        with self.lock:
            asked = self.asked[owner, jid]
            if name in asked:
                self.asked[owner, jid] = asked[asked.index(name) + 1:]
                self.kept[owner, jid] = name
                self.sets += 1

    def message_sent(self):
        with self.lock:
            self.sent += 1

    def message_kept(self, sender, receiver, text):
        with self.lock:
            if text not in self.ids.get(receiver, {}):
                self.waiting.setdefault(receiver, set()).add(text)
            for account in (sender, receiver):
                if text not in self.archived.get(account, ()):
                    self.missing.setdefault(account, set()).add(text)
            self.messages += 1

    def awaited(self, receiver):
        with self.lock:
            return set(self.waiting.get(receiver, ()))

    def came(self, receiver, text, number):
        """A message reached its receiver, with the id that the server gave it."""
        with self.lock:
            ids = self.ids.setdefault(receiver, {})
            texts = self.texts.setdefault(receiver, {})
            if number is None:
                self.faults.append(f"{receiver} got `{text}` without a stanza id")
            elif text in ids and ids[text] != number:
                self.faults.append(f"{receiver} got `{text}` as {ids[text]} and again as {number}")
            elif texts.get(number, text) != text:
                self.faults.append(f"{receiver} got `{texts[number]}` and `{text}` as {number}")
            elif text in ids:
                # Who has not said that it came may be told again.
                self.repeats += 1
            else:
                ids[text], texts[number] = number, text
                self.came_first(receiver, text)

    def came_first(self, receiver, text):
        sender, count = text.rsplit(" ", 1)
        before = self.numbers.get((receiver, sender), 0)
        if int(count) < before:
            self.faults.append(f"{receiver} got `{text}` behind number {before}")
        self.numbers[receiver, sender] = int(count)
        self.waiting.get(receiver, set()).discard(text)

    def compare_archive(self, account, found):
        """What was acknowledged is in the archive of both sides: once, in order, under the id under
        which it came."""
        archived = self.archived.setdefault(account, set())
        for text, number in found:
            if text in archived:
                self.faults.append(f"the archive of {account} has `{text}` twice")
            archived.add(text)
            if self.ids.get(account, {}).get(text, number) != number:
                self.faults.append(f"the archive of {account} has `{text}` as {number}, "
                                   f"it came as {self.ids[account][text]}")
        missing = self.missing.pop(account, set()) - archived
        if missing:
            self.faults.append(f"the archive of {account} lacks {some(missing)}")
        numbers = {}
        for text, _ in found:
            sender, count = text.rsplit(" ", 1)
            if int(count) < numbers.get(sender, 0):
                self.faults.append(f"the archive of {account} has `{text}` out of order")
            numbers[sender] = int(count)

    def compare_roster(self, owner, roster):
        """Each item must have the name that was acknowledged, or one that was asked for later."""
        for (who, jid), name in self.kept.items():
            if who != owner:
                continue
            allowed = [name, *self.asked[owner, jid]]
            if roster.get(jid) not in allowed:
                self.faults.append(
                    f"roster of {owner}: {jid} is {roster.get(jid)}, not {allowed}")
        for (who, jid), asked in self.asked.items():
            if who == owner and jid in roster:
                # The next round begins with what is there now.
                self.kept[owner, jid] = roster[jid]
                asked.clear()

    def compare_messages(self, receiver):
        missing = self.waiting.get(receiver)
        if missing:
            self.faults.append(f"{receiver} misses {some(missing)}")
            missing.clear()

    def take_faults(self):
        faults, self.faults = self.faults, []
        return faults

    def summary(self):
        return (f"acknowledged: {self.accounts} accounts, {self.sets} roster sets, "
                f"{self.messages} of {self.sent} messages; {self.repeats} told again")


def some(texts):
    return f"{len(texts)} messages: {sorted(texts)[:5]}"
