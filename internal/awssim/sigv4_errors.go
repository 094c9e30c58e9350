package awssim

import (
	"net/http"
	"strings"
)

// authProblem is why a signature is not accepted.
type authProblem int

const (
	authMissing authProblem = iota
	authMalformed
	authUnknownKey
	authSkewed
	authUnsigned
	authMismatch
	authBadToken
	authExpired
)

// s3AuthError has S3's codes (Amazon S3 API reference, "Error responses").
func s3AuthError(p authProblem, what string) *apiError {
	forbidden := func(code, message string, d ...detail) *apiError {
		return &apiError{Status: http.StatusForbidden, Code: code, Message: message, Detail: d}
	}
	bad := func(code, message string) *apiError {
		return &apiError{Status: http.StatusBadRequest, Code: code, Message: message}
	}
	switch p {
	case authMalformed:
		return bad("AuthorizationHeaderMalformed", "The authorization header is malformed; "+what+".")
	case authUnknownKey:
		return forbidden("InvalidAccessKeyId", "The AWS Access Key Id you provided does not exist in our records.", detail{"AWSAccessKeyId", what})
	case authSkewed:
		request, server, _ := strings.Cut(what, " ")
		return forbidden("RequestTimeTooSkewed", "The difference between the request time and the current time is too large.",
			detail{"RequestTime", request}, detail{"ServerTime", server}, detail{"MaxAllowedSkewMilliseconds", "900000"})
	case authUnsigned:
		return forbidden("AccessDenied", "There were headers present in the request which were not signed", detail{"HeadersNotSigned", what})
	case authMismatch:
		return forbidden("SignatureDoesNotMatch", "The request signature we calculated does not match the signature you provided. Check your key and signing method.",
			detail{"CanonicalRequest", what})
	case authBadToken:
		return bad("InvalidToken", "The provided token is malformed or otherwise invalid.")
	case authExpired:
		return bad("ExpiredToken", "The provided token has expired.")
	default:
		return forbidden("AccessDenied", "Access Denied")
	}
}

// ec2AuthError has EC2's codes (Amazon EC2 API reference, "Error codes"). It
// answers an expired session as an expired request.
func ec2AuthError(p authProblem, what string) *apiError {
	switch p {
	case authMissing:
		return &apiError{Status: http.StatusForbidden, Code: "MissingAuthenticationToken", Message: "Request is missing Authentication Token"}
	case authMalformed:
		return &apiError{Status: http.StatusBadRequest, Code: "IncompleteSignature", Message: "The request signature does not conform to AWS standards: " + what + "."}
	case authSkewed, authExpired:
		return &apiError{Status: http.StatusBadRequest, Code: "RequestExpired", Message: "Request has expired."}
	default:
		return &apiError{Status: http.StatusUnauthorized, Code: "AuthFailure", Message: "AWS was not able to validate the provided access credentials"}
	}
}
