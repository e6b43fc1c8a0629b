package githubtest

import (
	"net/http"
	"slices"
	"time"
)

// reaction is one emoji that somebody put under a comment.
type reaction struct {
	id      int64
	content string
	user    *User
	created time.Time
}

// reactionContents are all that GitHub knows.
var reactionContents = []string{"+1", "-1", "laugh", "confused", "heart", "hooray", "rocket", "eyes"}

// tally counts reactions as comments and issues show them; self is the address of what they belong to.
func tally(self string, list []*reaction) object {
	shape := object{"url": self + "/reactions", "total_count": len(list)}
	for _, content := range reactionContents {
		count := 0
		for _, r := range list {
			if r.content == content {
				count++
			}
		}
		shape[content] = count
	}
	return shape
}

// byContent is how tests see reactions: the logins under each content, in order.
func byContent(list []*reaction) map[string][]string {
	shown := map[string][]string{}
	for _, r := range list {
		shown[r.content] = append(shown[r.content], r.user.Login)
	}
	return shown
}

func (c *call) reactionShape(r *reaction) object {
	return object{"id": r.id, "node_id": nodeID("REA", r.id), "user": c.s.userShape(r.user), "content": r.content, "created_at": stamp(r.created)}
}

// react adds the App's reaction to a list: 201, or 200 when it was there already.
func (c *call) react(list *[]*reaction) answer {
	var w struct {
		Content string `json:"content"`
	}
	c.decode(&w)
	bot := c.caller.token.installation.App.Bot
	for _, r := range *list {
		if r.content == w.Content && r.user == bot {
			return ok(c.reactionShape(r))
		}
	}
	r := &reaction{id: c.s.nextID(), content: w.Content, user: bot, created: c.s.now()}
	*list = append(*list, r)
	return created(c.reactionShape(r))
}

func createReaction(c *call) answer {
	if found := c.comment(); found != nil {
		return c.react(&found.reactions)
	}
	return notFound()
}

func listReactions(c *call) answer {
	found := c.comment()
	if found == nil {
		return notFound()
	}
	return page(c, found.reactions, func(some []*reaction) any { return shapes(some, c.reactionShape) })
}

func deleteReaction(c *call) answer {
	found := c.comment()
	if found == nil {
		return notFound()
	}
	before := len(found.reactions)
	found.reactions = slices.DeleteFunc(found.reactions, func(r *reaction) bool { return r.id == c.id("reaction_id") })
	if len(found.reactions) == before {
		return refuse(http.StatusNotFound, "Not Found")
	}
	return noContent()
}

func createCommitReaction(c *call) answer {
	if found := c.commitComment(); found != nil {
		return c.react(&found.reactions)
	}
	return notFound()
}
