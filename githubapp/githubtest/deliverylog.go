package githubtest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// Deliveries returns the delivery log of all Apps, oldest attempt first. It holds the newest 10,000 to 20,000 attempts.
func (s *Server) Deliveries() []Delivery {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []Delivery
	for _, d := range s.hooks.log {
		list = append(list, *d)
	}
	return list
}

// Held returns the deliveries that wait for Release, in the order of their events.
func (s *Server) Held() []Delivery {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []Delivery
	for _, out := range s.hooks.held {
		list = append(list, out.delivery)
	}
	return list
}

// Release lets held deliveries go, in the order given; without arguments all of them, in the order of their events.
func (s *Server) Release(guids ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(guids) == 0 {
		s.hooks.queue = append(s.hooks.queue, s.hooks.held...)
		s.hooks.held = nil
	}
	for _, guid := range guids {
		for i, out := range s.hooks.held {
			if out.delivery.GUID == guid {
				s.hooks.queue = append(s.hooks.queue, out)
				s.hooks.held = slices.Delete(s.hooks.held, i, i+1)
				break
			}
		}
	}
	s.hooks.wake()
}

// Redeliver sends the event with this GUID again, as the button in the App's settings does.
func (s *Server) Redeliver(guid string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, d := range slices.Backward(s.hooks.log) {
		if d.GUID == guid && s.apps[d.App] != nil {
			s.redeliver(d)
			return nil
		}
	}
	return fmt.Errorf("redeliver %s: no such delivery in the log", guid)
}

func (s *Server) redeliver(d *Delivery) {
	again := Delivery{GUID: d.GUID, Event: d.Event, Action: d.Action, App: d.App, Installation: d.Installation, Repository: d.Repository, Payload: d.Payload, Redelivery: true}
	s.hooks.queue = append(s.hooks.queue, &outgoing{app: s.apps[d.App], delivery: again, asked: true})
	s.hooks.wake()
}

func (s *Server) deliveryShape(d *Delivery) object {
	shape := object{"id": d.ID, "guid": d.GUID, "delivered_at": stamp(d.DeliveredAt), "redelivery": d.Redelivery, "duration": d.Duration.Seconds(),
		"status": d.Status, "status_code": d.StatusCode, "event": d.Event, "action": orNil(d.Action), "installation_id": nil, "repository_id": nil, "throttled_at": stampOrNil(d.ThrottledAt)}
	if d.Installation != 0 {
		shape["installation_id"] = d.Installation
	}
	if d.Repository != 0 {
		shape["repository_id"] = d.Repository
	}
	return shape
}

// logged are an App's deliveries that GitHub still knows, newest first.
func (c *call) logged() []*Delivery {
	var list []*Delivery
	for _, d := range slices.Backward(c.s.hooks.log) {
		if d.App == c.caller.app.ID && c.s.now().Sub(d.DeliveredAt) < logRetention {
			list = append(list, d)
		}
	}
	return list
}

// cursorPrefix makes cursors opaque, as GitHub's are.
const cursorPrefix = "v1_"

func listDeliveries(c *call) answer {
	size := min(max(number(c.query.Get("per_page"), 30), 1), 100)
	cursor, _ := strconv.ParseInt(strings.TrimPrefix(c.query.Get("cursor"), cursorPrefix), 10, 64)
	var list []*Delivery
	for _, d := range c.logged() {
		failed := d.StatusCode >= 400 && d.StatusCode <= 599
		succeeded := d.StatusCode >= 200 && d.StatusCode <= 399
		if want := c.query.Get("status"); want == "failure" && !failed || want == "success" && !succeeded || cursor != 0 && d.ID > cursor {
			continue
		}
		list = append(list, d)
	}
	a := ok(nil)
	if len(list) > size {
		query := c.r.URL.Query()
		query.Set("cursor", cursorPrefix+strconv.FormatInt(list[size].ID, 10))
		a.header.Set("Link", fmt.Sprintf("<%s>; rel=%q", c.s.api("app/hook/deliveries?%s", query.Encode()), "next"))
		list = list[:size]
	}
	a.body = shapes(list, c.s.deliveryShape)
	return a
}

func (c *call) delivery() *Delivery {
	for _, d := range c.logged() {
		if d.ID == c.id("delivery_id") {
			return d
		}
	}
	return nil
}

func getDelivery(c *call) answer {
	d := c.delivery()
	if d == nil {
		return notFound()
	}
	shape := c.s.deliveryShape(d)
	shape["url"] = c.caller.app.webhookURL
	shape["request"] = object{"headers": flat(d.RequestHeader), "payload": json.RawMessage(d.Payload)}
	shape["response"] = object{"headers": flat(d.ResponseHeader), "payload": d.ResponseBody}
	return ok(shape)
}

// flat is how the log shows headers: one value each.
func flat(header http.Header) object {
	shape := object{}
	for name := range header {
		shape[name] = header.Get(name)
	}
	return shape
}

func redeliverDelivery(c *call) answer {
	d := c.delivery()
	if d == nil {
		return notFound()
	}
	c.s.redeliver(d)
	return accepted()
}
