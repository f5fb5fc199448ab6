/* A libstrophe client that speaks the line protocol of bots.py.
 *
 * usage: strophe_bot FULL_JID HOST PORT starttls|direct CAFILE, the password as first line of stdin
 */
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strophe.h>
#include <unistd.h>

#define UNUSED(x) ((void)(x))

static char mechanism[64] = "unknown";
static int over;

static void tell(const char *format, ...) {
  va_list args;
  va_start(args, format);
  vprintf(format, args);
  va_end(args);
  putchar('\n');
  fflush(stdout);
}

/* The library tells the mechanism only in its log, by what it sends. That the server has gone it
 * tells there, too, before it waits for a dead peer's answer to the end of TLS. */
static void logged(void *data, xmpp_log_level_t level, const char *area, const char *text) {
  UNUSED(data);
  UNUSED(level);
  const char *at = strstr(text, "mechanism=\"");
  if (at && strstr(text, "<auth"))
    sscanf(at + strlen("mechanism=\""), "%63[^\"]", mechanism);
  if (strstr(text, "Closing socket"))
    tell("closed");
  fprintf(stderr, "%s: %s\n", area, text);
}

static const char *or_empty(const char *text) {
  return text ? text : "";
}

static void tell_items(xmpp_stanza_t *iq) {
  xmpp_stanza_t *query = xmpp_stanza_get_child_by_ns(iq, "jabber:iq:roster");
  xmpp_stanza_t *item = query ? xmpp_stanza_get_children(query) : NULL;
  for (; item; item = xmpp_stanza_get_next(item)) {
    const char *jid = xmpp_stanza_get_attribute(item, "jid");
    const char *subscription = xmpp_stanza_get_attribute(item, "subscription");
    if (jid)
      tell("roster %s %s", jid, subscription ? subscription : "none");
  }
}

static int on_iq(xmpp_conn_t *conn, xmpp_stanza_t *iq, void *data) {
  xmpp_ctx_t *ctx = data;
  const char *type = or_empty(xmpp_stanza_get_type(iq));
  tell_items(iq);
  if (!strcmp(type, "set")) {
    xmpp_stanza_t *answer = xmpp_iq_new(ctx, "result", xmpp_stanza_get_id(iq));
    xmpp_send(conn, answer);
    xmpp_stanza_release(answer);
  } else if (!strcmp(type, "result") && !strcmp(or_empty(xmpp_stanza_get_id(iq)), "roster1")) {
    xmpp_stanza_t *presence = xmpp_presence_new(ctx);
    xmpp_send(conn, presence);
    xmpp_stanza_release(presence);
    tell("online %s %s %s", xmpp_conn_get_bound_jid(conn), mechanism,
         xmpp_conn_is_secured(conn) ? "TLS" : "plain");
  }
  return 1;
}

static int on_presence(xmpp_conn_t *conn, xmpp_stanza_t *presence, void *data) {
  UNUSED(conn);
  UNUSED(data);
  const char *type = xmpp_stanza_get_type(presence);
  const char *from = or_empty(xmpp_stanza_get_from(presence));
  if (!type || !strcmp(type, "unavailable"))
    tell("presence %s %s", from, type ? type : "available");
  else if (!strcmp(type, "subscribe"))
    tell("asked %s", from);
  return 1;
}

static int on_message(xmpp_conn_t *conn, xmpp_stanza_t *message, void *data) {
  xmpp_ctx_t *ctx = data;
  char *body = xmpp_message_get_body(message);
  UNUSED(conn);
  if (body) {
    xmpp_stanza_t *delay = xmpp_stanza_get_child_by_ns(message, "urn:xmpp:delay");
    const char *stamp = delay ? xmpp_stanza_get_attribute(delay, "stamp") : NULL;
    char *bare = xmpp_jid_bare(ctx, or_empty(xmpp_stanza_get_from(message)));
    tell("message %s %s %s", bare, stamp ? stamp : "live", body);
    xmpp_free(ctx, bare);
    xmpp_free(ctx, body);
  }
  return 1;
}

static void ask_roster(xmpp_conn_t *conn, xmpp_ctx_t *ctx) {
  xmpp_stanza_t *iq = xmpp_iq_new(ctx, "get", "roster1");
  xmpp_stanza_t *query = xmpp_stanza_new(ctx);
  xmpp_stanza_set_name(query, "query");
  xmpp_stanza_set_ns(query, "jabber:iq:roster");
  xmpp_stanza_add_child(iq, query);
  xmpp_stanza_release(query);
  xmpp_send(conn, iq);
  xmpp_stanza_release(iq);
}

static void on_conn(xmpp_conn_t *conn, xmpp_conn_event_t event, int error,
                    xmpp_stream_error_t *stream_error, void *data) {
  xmpp_ctx_t *ctx = data;
  UNUSED(stream_error);
  if (event == XMPP_CONN_CONNECT) {
    xmpp_handler_add(conn, on_iq, NULL, "iq", NULL, ctx);
    xmpp_handler_add(conn, on_presence, NULL, "presence", NULL, ctx);
    xmpp_handler_add(conn, on_message, NULL, "message", NULL, ctx);
    ask_roster(conn, ctx);
  } else {
    if (error)
      tell("failed %d", error);
    over = 1;
  }
}

static void add(xmpp_conn_t *conn, xmpp_ctx_t *ctx, const char *jid) {
  xmpp_stanza_t *iq = xmpp_iq_new(ctx, "set", "add1");
  xmpp_stanza_t *query = xmpp_stanza_new(ctx);
  xmpp_stanza_t *item = xmpp_stanza_new(ctx);
  xmpp_stanza_set_name(query, "query");
  xmpp_stanza_set_ns(query, "jabber:iq:roster");
  xmpp_stanza_set_name(item, "item");
  xmpp_stanza_set_attribute(item, "jid", jid);
  xmpp_stanza_add_child(query, item);
  xmpp_stanza_add_child(iq, query);
  xmpp_stanza_release(item);
  xmpp_stanza_release(query);
  xmpp_send(conn, iq);
  xmpp_stanza_release(iq);
}

static void presence(xmpp_conn_t *conn, xmpp_ctx_t *ctx, const char *jid, const char *type) {
  xmpp_stanza_t *stanza = xmpp_presence_new(ctx);
  xmpp_stanza_set_to(stanza, jid);
  xmpp_stanza_set_type(stanza, type);
  xmpp_send(conn, stanza);
  xmpp_stanza_release(stanza);
}

static void say(xmpp_conn_t *conn, xmpp_ctx_t *ctx, const char *jid, const char *text) {
  xmpp_stanza_t *message = xmpp_message_new(ctx, "chat", jid, NULL);
  xmpp_message_set_body(message, text);
  xmpp_send(conn, message);
  xmpp_stanza_release(message);
}

static void command(xmpp_conn_t *conn, xmpp_ctx_t *ctx, char *line) {
  char *word = strtok(line, " ");
  char *jid = strtok(NULL, " ");
  char *text = strtok(NULL, "");
  if (word && jid && !strcmp(word, "add")) {
    add(conn, ctx, jid);
    presence(conn, ctx, jid, "subscribe");
  } else if (word && jid && !strcmp(word, "allow")) {
    presence(conn, ctx, jid, "subscribed");
  } else if (word && jid && text && !strcmp(word, "say")) {
    say(conn, ctx, jid, text);
  } else {
    xmpp_disconnect(conn);
  }
}

/* Reads what stdin has, and acts on each whole line. */
static void listen_to_rig(xmpp_conn_t *conn, xmpp_ctx_t *ctx) {
  static char buffer[65536];
  static size_t length;
  struct pollfd input = {.fd = 0, .events = POLLIN};
  if (poll(&input, 1, 0) <= 0)
    return;
  ssize_t count = read(0, buffer + length, sizeof buffer - 1 - length);
  if (count <= 0) {
    xmpp_disconnect(conn);
    over = 1;
    return;
  }
  length += (size_t)count;
  char *end;
  while ((end = memchr(buffer, '\n', length))) {
    size_t line = (size_t)(end - buffer) + 1;
    *end = 0;
    command(conn, ctx, buffer);
    memmove(buffer, buffer + line, length - line);
    length -= line;
  }
}

int main(int argc, char **argv) {
  if (argc != 6)
    return 2;
  char password[256];
  size_t length = 0;
  while (length < sizeof password - 1 && read(0, password + length, 1) == 1 &&
         password[length] != '\n')
    length++;
  password[length] = 0;
  xmpp_log_t log = {.handler = logged};
  xmpp_initialize();
  xmpp_ctx_t *ctx = xmpp_ctx_new(NULL, &log);
  xmpp_conn_t *conn = xmpp_conn_new(ctx);
  xmpp_conn_set_jid(conn, argv[1]);
  xmpp_conn_set_pass(conn, password);
  xmpp_conn_set_cafile(conn, argv[5]);
  xmpp_conn_set_flags(conn, strcmp(argv[4], "direct") ? XMPP_CONN_FLAG_MANDATORY_TLS
                                                      : XMPP_CONN_FLAG_LEGACY_SSL);
  if (xmpp_connect_client(conn, argv[2], (unsigned short)atoi(argv[3]), on_conn, ctx) != XMPP_EOK) {
    tell("failed connect");
    return 1;
  }
  while (!over) {
    xmpp_run_once(ctx, 10);
    listen_to_rig(conn, ctx);
  }
  xmpp_conn_release(conn);
  xmpp_ctx_free(ctx);
  xmpp_shutdown();
  return 0;
}
