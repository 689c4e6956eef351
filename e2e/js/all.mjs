// One process for the whole suite: the groups run one after another, the cases
// of a group that shares a sandbox at the same time.
import './lifecycle.mjs'
import './list.mjs'
import './commands.mjs'
import './streams.mjs'
import './pty.mjs'
import './files.mjs'
import './upload.mjs'
import './watch.mjs'
import './urls.mjs'
import './ports.mjs'
import './git.mjs'
import './errors.mjs'
