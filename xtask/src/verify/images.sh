# shellcheck shell=sh
# shellcheck disable=SC2034,SC2154 # as in lib.sh
# The images of the checks, made by hand: lesson 16 reads this file before lib.sh, which
# leaves the directory. An image layout is a directory with the files oci-layout, index.json
# and blobs/sha256/DIGEST.

# begin_images: makes the layout `images`, without an image.
begin_images() {
    mkdir -p images/blobs/sha256
    echo '{"imageLayoutVersion":"1.0.0"}' >images/oci-layout
    : >manifests
    case $(uname -m) in
    x86_64) architecture=amd64 ;;
    aarch64) architecture=arm64 ;;
    *) architecture=$(uname -m) ;;
    esac
}

# blob FILE TYPE [MORE]: makes FILE a blob of the layout, and prints its descriptor.
blob() {
    cp "$1" "images/blobs/sha256/$(sum "$1")"
    printf '{"mediaType":"application/vnd.oci.image.%s","digest":"sha256:%s","size":%s%s}' \
        "$2" "$(sum "$1")" "$(wc -c <"$1" | tidy)" "${3:-}"
}

sum() {
    sha256sum <"$1" | cut -d ' ' -f 1
}

# image TAG CONFIG LAYER...: adds an image. Each LAYER is a tar archive, which may be
# compressed; CONFIG is JSON.
image() {
    tag=$1 config=$2 layers='' diffs=''
    shift 2
    for layer in "$@"; do
        case $layer in
        *.gz) kind=layer.v1.tar+gzip diff=$(gzip -dc "$layer" | sum /dev/stdin) ;;
        *) kind=layer.v1.tar diff=$(sum "$layer") ;;
        esac
        layers="$layers,$(blob "$layer" "$kind")"
        diffs="$diffs,\"sha256:$diff\""
    done
    printf '{"architecture":"%s","os":"linux","config":{%s},"rootfs":{"type":"layers","diff_ids":[%s]}}' \
        "$architecture" "$config" "${diffs#,}" >config.json
    printf '{"schemaVersion":2,"config":%s,"layers":[%s]}' \
        "$(blob config.json config.v1+json)" "${layers#,}" >manifest.json
    blob manifest.json manifest.v1+json ",\"annotations\":{\"org.opencontainers.image.ref.name\":\"$tag\"}" >>manifests
    echo >>manifests
    printf '{"schemaVersion":2,"manifests":[%s]}' "$(paste -s -d , manifests)" >images/index.json
}

# archive DIR: an archive of a directory, in which everything belongs to root.
archive() {
    tar -C "$1" --owner 0 --group 0 -cf - . 2>/dev/null || unshare --map-root-user tar -C "$1" -cf - .
}

# entry NAME OWNER TEXT: an archive with one file of mode 600, by hand: see tar(5).
entry() {
    bytes=$(header "$1" "$2" ${#3} '' | od -An -v -tu1 | awk '{ for (at = 1; at <= NF; at++) sum += $at } END { print sum }')
    # The sum of the header counts its own eight bytes as blanks.
    header "$1" "$2" ${#3} "$(printf %06o $((bytes + 8 * 32)))"
    printf '%-512s%-1024s' "$3" '' | tr ' ' '\0'
}

# header NAME OWNER SIZE SUM
header() {
    printf '%-100s%07o %07o %07o %011o %011o %-8s0%-100sustar 00%-247s' "$1" 0600 "$2" "$2" "$3" 0 "$4" '' '' | tr ' ' '\0'
}

# Why this caller has no subordinate IDs. The program can then map only one ID.
no_ids() {
    for tool in newuidmap newgidmap; do
        [ "$uid" = 0 ] || command -v "$tool" >/dev/null || {
            echo "this host has no $tool; install the package uidmap"
            return
        }
    done
    [ "$(first_id subuid)" ] && [ "$(first_id subgid)" ] || echo 'this user has no range in /etc/subuid and /etc/subgid'
}

# first_id FILE: the first ID of the caller's range in /etc/subuid or /etc/subgid.
first_id() {
    awk -F : -v name="$(id -un)" -v id="$uid" '$1 == name || $1 == id { print $2; exit }' "/etc/$1" 2>/dev/null
}
