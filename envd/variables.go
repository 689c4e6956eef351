package envd

// VariablesName is the variable of the agent with those that all programs of the guest have, as a JSON object: of a container image, if
// the guest began with one. They are weaker than all others.
const VariablesName = "RUNDLET_VARIABLES"
