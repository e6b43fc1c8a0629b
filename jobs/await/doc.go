// Package await is the kind of job that waits for checks and statuses of others on its commit, such as the tests that GitHub Actions
// runs there. While it waits it holds no worker: news about the checks call it, and seldom the clock.
package await
