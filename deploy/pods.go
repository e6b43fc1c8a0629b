package deploy

import (
	"context"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const maxImages = 100

// images lists what the release's pods run. It is a courtesy: when the list can't be
// had, the outcome goes without it.
func (r *rollout) images(ctx context.Context) []RunningImage {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 20*time.Second)
	defer cancel()
	known := metav1.ListOptions{Limit: 5000}
	fromCache(&known)
	pods, err := r.watch.client.CoreV1().Pods(r.release.Namespace).List(ctx, known)
	if err != nil {
		r.cluster.log.Warn("running images not listed", "release", r.release.Name, "error", err)
		return nil
	}
	r.watch.mu.Lock()
	defer r.watch.mu.Unlock()
	return runningImages(pods.Items, r.release.Namespace, func(ref objectRef) bool {
		hook, known := r.watch.objects[ref]
		return known && !hook
	})
}

// runningImages are the distinct images of running pods that belong to the release.
func runningImages(pods []corev1.Pod, namespace string, belongs func(objectRef) bool) []RunningImage {
	var images []RunningImage
	for i := range pods {
		pod := &pods[i]
		ref := podOwner(pod)
		if pod.DeletionTimestamp != nil || pod.Status.Phase != corev1.PodRunning || !belongs(ref) {
			continue
		}
		for _, c := range pod.Status.ContainerStatuses {
			image := RunningImage{Object: objectName(ref.kind, namespace, ref.name), Container: c.Name, Image: c.Image}
			for _, asked := range pod.Spec.Containers {
				if asked.Name == c.Name {
					image.Image = asked.Image
				}
			}
			// The runtime says "repository@sha256:…", or only the digest of what it loaded.
			if i := strings.LastIndex(c.ImageID, "sha256:"); i >= 0 {
				image.Digest = c.ImageID[i:]
			}
			if !slices.Contains(images, image) {
				images = append(images, image)
			}
		}
	}
	slices.SortFunc(images, func(a, b RunningImage) int {
		return strings.Compare(a.Object+"\x00"+a.Container+"\x00"+a.Image+a.Digest, b.Object+"\x00"+b.Container+"\x00"+b.Image+b.Digest)
	})
	return images[:min(len(images), maxImages)]
}
