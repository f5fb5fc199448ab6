"""What goes wrong around a server that runs: peers that are gone without a word or frozen, a reader
that stalls, a clock that steps, no descriptors, a disk that is slow or full.

It plays in a network and with mounts of its own, which only this process and those it starts can see
and which go with them, so that packets can be lost and a disk can be full there.
"""

import argparse
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "clients"), str(HERE.parent / "crash")]

from archive import Archive  # noqa: E402
from calls import Traced  # noqa: E402
from managed import PASSWORD  # noqa: E402
from people import Failure, Person  # noqa: E402
from server import DOMAIN, HOST, Verona  # noqa: E402
from stream import Gone, Refused, Stream  # noqa: E402

INSIDE = "VERONA_FAULTS_INSIDE"
UNANSWERED = 4
# A look every second, and a machine that may be busy.
DETECTED = UNANSWERED + 8


class Impatient(Verona):
    """A server that soon takes who does not answer for gone."""

    limits = f"unanswered_secs = {UNANSWERED}\n"


class Crowded(Verona):
    """A server that may have few files and connections open."""

    def command(self):
        return ["prlimit", "--nofile=64:64", *super().command()]


class Dreaming(Verona):
    """A server whose clock is set from outside; what measures time is left alone."""

    library = "/usr/lib/{}-linux-gnu/faketime/libfaketimeMT.so.1"

    def command(self):
        library = self.library.format(os.uname().machine)
        if not Path(library).exists():
            raise RuntimeError(f"{library} is not there")
        self.clock = self.folder / "clock"
        self.turn("+0")
        return ["env", f"LD_PRELOAD={library}", f"FAKETIME_TIMESTAMP_FILE={self.clock}",
                "FAKETIME_NO_CACHE=1", "FAKETIME_DONT_FAKE_MONOTONIC=1", *super().command()]

    def turn(self, by):
        new = self.clock.with_suffix(".new")
        new.write_text(by + "\n")
        new.rename(self.clock)


def a_peer_that_is_gone_sleeps_in_time_and_goes_on(server):
    """Packets to it are lost while a message is under way; it comes back from elsewhere."""
    romeo = Person(server, "romeo")
    juliet = Person(server, "juliet", source="127.77.0.2")
    romeo.enter()
    juliet.enter()
    lose_packets_to("127.77.0.2")
    romeo.say("juliet")
    romeo.settle()
    asleep_within(server, "juliet", DETECTED)
    romeo.say("juliet")
    romeo.settle()
    juliet.resume(source="127.77.0.3")
    juliet.must_have_heard(romeo)


def a_peer_that_does_not_come_back_gets_all_at_its_next_login(server):
    romeo = Person(server, "benvolio")
    nurse = Person(server, "nurse", source="127.77.1.2", seconds=2)
    romeo.enter()
    nurse.enter()
    lose_packets_to("127.77.1.2")
    for _ in range(5):
        romeo.say("nurse")
    romeo.settle()
    asleep_within(server, "nurse", DETECTED)
    wait_for(lambda: logged(server, "session ended", "nurse"), DETECTED,
             "the session of who does not come back ends")
    romeo.say("nurse")
    romeo.settle()
    if romeo.refused:
        raise Failure(f"{len(romeo.refused)} messages came back")
    nurse.take_what_waits()
    nurse.must_have_heard(romeo)


def a_frozen_peer_sleeps_in_time_and_goes_on(server):
    """Its machine takes all bytes, and nobody reads them."""
    romeo = Person(server, "mercutio")
    tybalt = Person(server, "tybalt")
    romeo.enter()
    tybalt.enter()
    for _ in range(3):
        romeo.say("tybalt")
    romeo.settle()
    asleep_within(server, "tybalt", DETECTED)
    romeo.say("tybalt")
    romeo.settle()
    tybalt.resume()
    tybalt.must_have_heard(romeo)


def a_peer_without_stream_management_that_is_gone_is_found_too(server):
    Stream(server.port).register("paris", PASSWORD)
    stream = Stream(server.port, source="127.77.2.2")
    stream.login("paris", PASSWORD, "rig")
    stream.send("<presence/>")
    romeo = Person(server, "sampson")
    romeo.enter()
    lose_packets_to("127.77.2.2")
    romeo.say("paris")
    romeo.settle()
    wait_for(lambda: logged(server, "stream ended", "paris"), DETECTED, "its stream is ended")
    audit = Stream(server.port)
    audit.login("paris", PASSWORD, "audit")
    found = [text for text, _ in Archive(f"paris@{DOMAIN}").catch_up(audit)]
    if found != list(romeo.acknowledged):
        raise Failure(f"the archive has {found}")


def a_reader_that_stalls_loses_nothing_and_stops_nobody(server):
    """It reads nothing; what it is sent is more than a session may hold, in stanzas and in bytes."""
    romeo = Person(server, "abraham")
    reader = Person(server, "balthasar")
    other = Person(server, "gregory")
    for person in (romeo, reader, other):
        person.enter()
    before = memory(server)
    slowest = 0
    for _ in range(30):
        for _ in range(50):
            romeo.say("balthasar", filling=" " + "x" * 2000)
        romeo.session.read(block=False)
        began = time.monotonic()
        other.settle()
        slowest = max(slowest, time.monotonic() - began)
    romeo.settle(patience=90)
    grown = memory(server) - before
    reader.session.cut()
    if slowest > 5:
        raise Failure(f"somebody else waited {slowest:.1f} s for a ping")
    # Two generations of young records (16 MiB) and the caches of the store fill up meanwhile, once.
    if grown > 64:
        raise Failure(f"the server has grown by {grown} MiB for 3 MiB of messages")
    print(f"    {len(romeo.refused)} of {len(romeo.acknowledged)} came back", flush=True)
    reader.take_what_waits()
    reader.must_have_heard(romeo)


def a_clock_that_steps_changes_no_order_and_ends_nothing(folder):
    server = Dreaming(folder, plain=True)
    server.start()
    try:
        romeo, juliet, nurse = (Person(server, name) for name in ("romeo", "juliet", "nurse"))
        romeo.enter()
        juliet.enter()
        audit = Stream(server.port)
        audit.login("juliet", PASSWORD, "audit")
        for step in ("+3600", "+3599", "-3600", "+0", "-86400", "+2678400"):
            juliet.session.cut()
            server.turn(step)
            for _ in range(3):
                romeo.say("juliet")
                romeo.say("nurse")
            romeo.settle()
            # Sleeping sessions are measured in time that passed, so is what a token is good for.
            juliet.resume()
            juliet.session.read(block=False)
        texts = [text for text, _ in Archive(f"juliet@{DOMAIN}").catch_up(audit)]
        if texts != [text for text in romeo.acknowledged if text in set(texts)] or len(texts) != 18:
            raise Failure(f"the archive has {texts}")
        server.restart()
        nurse.take_what_waits()
        juliet.resume()
        heard = [*juliet.heard, *nurse.heard]
        missing = [text for text in romeo.acknowledged if text not in heard]
        if missing or len(juliet.heard) != 18 or len(nurse.heard) != 18:
            raise Failure(f"{missing} are missing, {len(heard)} came")
        if list(nurse.heard) != sorted(nurse.heard, key=lambda text: int(text.split()[1])):
            raise Failure(f"out of order: {list(nurse.heard)}")
    finally:
        server.kill()


def who_comes_when_there_are_no_descriptors_is_turned_away(folder):
    server = Crowded(folder, plain=True)
    server.start()
    try:
        romeo, juliet = (Person(server, name) for name in ("romeo", "juliet"))
        romeo.enter()
        held = [socket.create_connection((HOST, server.port), timeout=10) for _ in range(120)]
        # All that are more than it can have are closed, long before it is tired of silent ones.
        time.sleep(3)
        closed = sum(is_closed(connection) for connection in held)
        if not 40 <= closed < 120:
            raise Failure(f"{closed} of {len(held)} connections were closed")
        romeo.settle(patience=5)
        spent = processor_seconds(server)
        time.sleep(2)
        spent = processor_seconds(server) - spent
        if spent > 0.2:
            raise Failure(f"it was busy for {spent:.2f} of 2 seconds")
        for connection in held:
            connection.close()
        wait_for(lambda: not is_turned_away(server), 10, "there is room again")
        juliet.enter()
        text = romeo.say("juliet")
        juliet.hear(text)
    finally:
        server.kill()


def a_slow_disk_delays_acknowledgements_and_nothing_else(folder):
    server = Traced(folder, [], plain=True)
    server.start()
    romeo, juliet = (Person(server, name) for name in ("romeo", "juliet"))
    server.stop()
    server.inject = ["fsync,fdatasync:delay_enter=2000000"]
    server.start(timeout=60)
    try:
        romeo.enter()
        juliet.enter()
        before = memory(server)
        soonest = 99
        for _ in range(3):
            sent = time.monotonic()
            text = romeo.say("juliet")
            juliet.hear(text)
            delivered = time.monotonic() - sent
            romeo.until(lambda _: text in romeo.acknowledged)
            soonest = min(soonest, romeo.acknowledged[text] - sent)
            if delivered > 1.7:
                raise Failure(f"a message was delivered after {delivered:.2f} s")
        if soonest < 1.7:
            raise Failure(f"a message was acknowledged after {soonest:.2f} s")
        for _ in range(900):
            romeo.say("juliet", filling=" " + "x" * 500)
            romeo.session.read(block=False)
            for element in juliet.session.read(block=False):
                juliet.note(element)
        romeo.settle()
        juliet.settle()
        if memory(server) - before > 48:
            raise Failure(f"the server has grown by {memory(server) - before} MiB")
        juliet.must_have_heard(romeo)
    finally:
        server.kill()


def a_full_disk_refuses_what_is_kept_and_is_well_with_space(folder):
    server = Verona(folder, plain=True)
    data = folder / "data"
    shutil.copytree(data, folder / "aside")
    run("mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", data)
    shutil.copytree(folder / "aside", data, dirs_exist_ok=True)
    server.start()
    try:
        romeo, juliet, nurse, other = (
            Person(server, name) for name in ("romeo", "juliet", "nurse", "mercutio"))
        for person in (romeo, juliet, other):
            person.enter()
        romeo.say("nurse")
        romeo.settle()
        ballast = data / "ballast"
        with ballast.open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(4096))
            except OSError:
                pass
        for _ in range(200):
            romeo.say("nurse", filling=" " + "x" * 2000)
            romeo.settle()
            if len(romeo.refused) >= 3:
                break
        if romeo.reasons != {("wait", "resource-constraint")}:
            raise Failure(f"{len(romeo.refused)} were refused, because of {romeo.reasons}")
        # What is not kept needs no disk.
        text = other.say("juliet", payload="<no-store xmlns='urn:xmpp:hints'/>")
        juliet.hear(text, patience=5)
        other.settle(patience=5)
        ballast.unlink()
        end = time.monotonic() + 5
        while True:
            refused = len(romeo.refused)
            romeo.say("nurse")
            romeo.settle()
            if len(romeo.refused) == refused:
                break
            if time.monotonic() > end:
                raise Failure("there is space again, and messages are refused")
        server.kill()
        server.start()
        nurse.take_what_waits()
        nurse.must_have_heard(romeo)
    finally:
        server.kill()
        run("umount", data)


def is_closed(connection):
    """Whether the server has closed a connection without having been asked."""
    connection.setblocking(False)
    try:
        return connection.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionError:
        return True


def is_turned_away(server):
    with socket.create_connection((HOST, server.port), timeout=5) as connection:
        time.sleep(0.5)
        return is_closed(connection)


def processor_seconds(server):
    fields = Path(f"/proc/{server.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def lose_packets_to(address):
    run("ip", "rule", "add", "pref", "10", "to", address, "blackhole")


def asleep_within(server, name, seconds):
    wait_for(lambda: logged(server, "session sleeps", name), seconds,
             f"the session of {name} sleeps")


def logged(server, event, name):
    """Whether the log tells of it, for an account."""
    return re.search(f" {event} .*account={name}@{DOMAIN}", server.log.read_text())


def wait_for(condition, seconds, what):
    began = time.monotonic()
    while not condition():
        if time.monotonic() - began > seconds:
            raise Failure(f"not within {seconds} s: {what}")
        time.sleep(0.1)
    print(f"    after {time.monotonic() - began:.1f} s: {what}", flush=True)


def memory(server):
    """MiB that the server has in use."""
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) // 1024


def run(*command):
    subprocess.run(command, check=True)


def enter_own_network():
    """Begins anew in a network of its own; comes back inside of it."""
    if os.environ.get(INSIDE) is None:
        os.environ[INSIDE] = "1"
        os.execvp("unshare", ["unshare", "--net", "--mount", "--", sys.executable, *sys.argv])
    run("ip", "link", "set", "lo", "up")
    # So that a rule can come before the table of what is local.
    run("ip", "rule", "add", "pref", "100", "lookup", "local")
    run("ip", "rule", "del", "pref", "0")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="those whose name contains this")
    options = parser.parse_args()
    enter_own_network()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("asked to end"))
    folder = Path(tempfile.mkdtemp(prefix="verona-faults-"))
    server = Impatient(folder / "server", plain=True)
    with_peers = [
        a_peer_that_is_gone_sleeps_in_time_and_goes_on,
        a_peer_that_does_not_come_back_gets_all_at_its_next_login,
        a_frozen_peer_sleeps_in_time_and_goes_on,
        a_peer_without_stream_management_that_is_gone_is_found_too,
        a_reader_that_stalls_loses_nothing_and_stops_nobody,
    ]
    with_own = [
        a_clock_that_steps_changes_no_order_and_ends_nothing,
        who_comes_when_there_are_no_descriptors_is_turned_away,
        a_slow_disk_delays_acknowledgements_and_nothing_else,
        a_full_disk_refuses_what_is_kept_and_is_well_with_space,
    ]
    passed, failed = 0, []
    try:
        server.start()
        works = [(work, server) for work in with_peers]
        works += [(work, folder / work.__name__) for work in with_own]
        works = [(work, place) for work, place in works if options.only in work.__name__]
        with ThreadPoolExecutor(len(works)) as pool:
            tasks = [(work.__name__, pool.submit(work, place)) for work, place in works]
            for name, task in tasks:
                try:
                    task.result()
                    passed += 1
                    print(f"ok {name}", flush=True)
                except (Failure, Gone, Refused, RuntimeError, OSError) as error:
                    failed.append(name)
                    traceback.print_exc()
                    print(f"FAILED {name}: {type(error).__name__}: {error}", flush=True)
    finally:
        server.kill()
    if failed:
        print(f"--- the server said\n{server.tail()}\nlogs and data are in {folder}")
    else:
        shutil.rmtree(folder)
    print(f"{passed} passed, {len(failed)} failed")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
