# Completions of pathspider for bash 4 or later. The program answers itself at each Tab.
_pathspider() {
    local answer files line
    COMPREPLY=()
    answer=$("${COMP_WORDS[0]/#\~\//$HOME/}" __complete --bash "${COMP_LINE:0:COMP_POINT}" \
        "${COMP_LINE:COMP_POINT}" "$2" </dev/null 2>/dev/null) || return 0
    {
        read -r files || return 0
        while IFS= read -r line; do
            COMPREPLY+=("${line%%$'\t'*}")
        done
    } <<<"$answer"
    [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *[=,] ]] && compopt -o nospace
    case $files in
        none | '') ;;
        any) compopt -o default ;;
        folders) compopt -o dirnames ;;
        *)
            compopt -o filenames
            while IFS= read -r line; do
                COMPREPLY+=("$line")
            done < <(compgen -f -X "!*.$files" -- "$2"; compgen -d -- "$2")
            ;;
    esac
    return 0
}
complete -F _pathspider pathspider
