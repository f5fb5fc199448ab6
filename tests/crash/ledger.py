"""What the server has acknowledged, and what it was only asked for."""

import threading


class Ledger:
    """Shared by the threads of the load; read when they are gone."""

    def __init__(self):
        self.lock = threading.Lock()
        self.new_accounts = set()
        self.accounts = 0
        # Roster items by owner and JID: the last name acknowledged, and the names asked for since.
        self.kept = {}
        self.asked = {}
        self.sets = 0
        # Texts of messages by receiver: acknowledged and not yet seen; all that was ever seen.
        self.waiting = {}
        self.seen = {}
        self.messages = 0
        self.repeats = 0

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
            self.asked[owner, jid] = asked[asked.index(name) + 1:]
            self.kept[owner, jid] = name
            self.sets += 1

    def message_kept(self, receiver, text):
        with self.lock:
            self.waiting.setdefault(receiver, set()).add(text)
            self.messages += 1

    def awaited(self, receiver):
        return self.waiting.get(receiver, set())

    def compare_roster(self, owner, roster):
        """Each item must have the name that was acknowledged, or one that was asked for later."""
        faults = []
        for (who, jid), name in self.kept.items():
            if who != owner:
                continue
            allowed = [name, *self.asked[owner, jid]]
            if roster.get(jid) not in allowed:
                faults.append(f"roster of {owner}: {jid} is {roster.get(jid)}, not {allowed}")
        for (who, jid), asked in self.asked.items():
            if who == owner and jid in roster:
                # The next round begins with what is there now.
                self.kept[owner, jid] = roster[jid]
                asked.clear()
        return faults

    def compare_messages(self, receiver, texts):
        """Nothing acknowledged is missing, nothing came twice at once, each sender's are in order."""
        faults = []
        missing = self.awaited(receiver) - set(texts)
        if missing:
            faults.append(f"{receiver} misses {len(missing)} messages: {sorted(missing)[:5]}")
        if len(set(texts)) != len(texts):
            faults.append(f"{receiver} got messages twice in one delivery")
        seen = self.seen.setdefault(receiver, set())
        # Who has read without an acknowledgement may be told again after a crash.
        new = [text for text in texts if text not in seen]
        self.repeats += len(texts) - len(new)
        numbers = {}
        for text in new:
            sender, number = text.rsplit(" ", 1)
            if int(number) <= numbers.get(sender, 0):
                faults.append(f"{receiver} got `{text}` behind number {numbers[sender]}")
            numbers[sender] = int(number)
        seen.update(texts)
        self.waiting[receiver] = set()
        return faults

    def summary(self):
        return (f"acknowledged: {self.accounts} accounts, {self.sets} roster sets, "
                f"{self.messages} messages; {self.repeats} told again after a crash")
