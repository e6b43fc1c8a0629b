package deploy

import (
	"bufio"
	"errors"
	"io"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
)

const maxHookLogBytes = 1 << 20 // of one container

// starts notes that an object is applied for the first time; for a hook, that it runs now.
func (w *watcher) starts(kind, name string) {
	ref := objectRef{kind, name}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.objects[ref] {
		w.started[ref] = true
		w.log.printf("hook %s %s started", kind, name)
	}
}

// streamLogs follows every container of a hook's pod that has started. The caller holds the lock.
func (w *watcher) streamLogs(state *podState) {
	for _, c := range containerStatuses(state.pod) {
		log := state.logs[c.Name]
		if log == nil {
			log = &containerLog{}
			state.logs[c.Name] = log
		}
		if log.open || log.done || c.State.Running == nil && c.State.Terminated == nil {
			continue
		}
		log.open = true
		prefix := state.ref.name
		if len(state.pod.Spec.Containers)+len(state.pod.Spec.InitContainers) > 1 {
			prefix += "/" + c.Name
		}
		pod, container, ended := state.pod.Name, c.Name, c.State.Terminated != nil
		w.done.Go(func() {
			err := w.streamLog(pod, container, prefix, log)
			w.mu.Lock()
			defer w.mu.Unlock()
			log.open = false
			// A log that couldn't be opened is tried again when the pod changes.
			log.done = err == nil || ended
			w.broadcast()
		})
	}
}

func (w *watcher) streamLog(pod, container, prefix string, log *containerLog) error {
	limit := int64(maxHookLogBytes)
	stream, err := w.client.CoreV1().Pods(w.namespace).GetLogs(pod, &corev1.PodLogOptions{
		Container: container, Follow: true, LimitBytes: &limit,
	}).Stream(w.ctx)
	if err != nil {
		return err
	}
	defer stream.Close()
	in := bufio.NewReaderSize(stream, 8<<10)
	var size int64
	for {
		line, err := in.ReadSlice('\n')
		size += int64(len(line))
		if text := strings.TrimRight(string(line), "\r\n"); text != "" {
			w.log.printf("[%s] %s", prefix, text)
			w.mu.Lock()
			log.tail.add(text)
			w.mu.Unlock()
		}
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			if size >= limit {
				w.log.printf("[%s] the log of this container is cut here after %d KiB", prefix, limit>>10)
			}
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
	}
}

// drain waits until a hook that ran has been logged to its end, for a limited time.
func (w *watcher) drain(kind, name string) {
	ref := objectRef{kind, name}
	timeout := time.NewTimer(w.drainTime)
	defer timeout.Stop()
	for {
		w.mu.Lock()
		changed, drained := w.changed, !w.started[ref] || w.drained(ref)
		if drained {
			delete(w.started, ref)
		}
		w.mu.Unlock()
		if drained {
			return
		}
		select {
		case <-changed:
		case <-timeout.C:
			w.log.printf("the log of hook %s %s may be incomplete: it was not there in time", kind, name)
			return
		}
	}
}

// drained says whether every pod of a hook has ended and is logged. The caller holds the lock.
func (w *watcher) drained(ref objectRef) bool {
	if ref.kind != "Job" && ref.kind != "Pod" {
		return true
	}
	seen := false
	for _, state := range w.pods {
		if state.ref != ref || state.old {
			continue
		}
		seen = true
		for _, c := range containerStatuses(state.pod) {
			started := c.State.Running != nil || c.State.Terminated != nil
			if log := state.logs[c.Name]; started && (log == nil || !log.done) {
				return false
			}
		}
	}
	return seen
}
