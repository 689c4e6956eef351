// Package links makes, lists and deletes network links, and looks at the routes over them. It knows no slots, and only package
// network may import it. Linux only.
package links
